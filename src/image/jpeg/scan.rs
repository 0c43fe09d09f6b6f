//! Second look at the entropy-coded data of a JPEG in sequential scans, for damage that libjpeg does not
//! warn of.
//!
//! A decoder that lost its place in the data reads other codes than were written, and often comes out at
//! the end all the same, with as many blocks as there must be. Three things then betray it: a run of zeros
//! that leads beyond the 64 coefficients of a block, an average brightness that no picture of 8 bits
//! can have, since each block's is told as the difference to the one before, and coefficient after
//! coefficient of nothing but zero bits, as a page of a file or of memory that was never written gives.
//! Codes and blocks are only counted here, so that this takes a fraction of the decoding.
//!
//! ```text
//! segment of a scan: interval, FF D0, interval, FF D1, ... interval, other marker
//! interval:          block, block, ... in the order of MCUs
//! block:             DC size, difference, then (run, size), coefficient ... until 63 or end of block
//! ```

mod tables;

use std::borrow::Cow;
use tables::{CodeTable, END_OF_BLOCK, STANDARD};

/// Most unread bytes before a marker that whole pictures have: some USB cameras add 1 to 5.
const SURPLUS_MAX: usize = 5;
/// Largest average of a block of 8-bit samples, times 8: the scale of a dequantised DC value.
const DC_MAX: i64 = 1024;
/// Room above [`DC_MAX`] for encoders that round generously.
const DC_ROOM: i64 = 76;

/// Coefficients in a row, all of zero bits alone, that no picture has: each is the smallest negative value
/// right behind the one before. A block in which that is so is one of many millions, and 40 in a row are
/// more than half of a block. Zero bytes of a hole are read so with the standard tables.
const ZEROS_MAX: u32 = 40;

/// Findings of [`look`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanLook {
    /// The data is damaged.
    Fault(ScanFault),
    /// All blocks of all components came, and nothing is wrong with them.
    Whole,
    /// Nothing is known: progressive and arithmetic coding, and what libjpeg refuses.
    Unknown,
}

/// Fault of a scan, and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanFault {
    /// Kind of the fault.
    pub kind: ScanFaultKind,
    /// First row of pixels of the MCU in which it was found.
    pub row: u32,
    /// Byte near which it was found.
    pub byte: u64,
}

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanFaultKind {
    /// The data ends before the last block.
    Missing,
    /// No code begins with these bits, or values are impossible.
    Invalid,
    /// Bytes are left over after the last block.
    LeftOver(u32),
}

/// Component of a picture, by its frame header.
#[derive(Clone, Copy, Default)]
struct Component {
    id: u8,
    /// Blocks of an MCU across and down.
    across: u32,
    down: u32,
    /// Number of its quantisation table.
    quantisation: usize,
    /// True once a scan of it was read.
    is_read: bool,
}

/// Component of a scan.
struct ScanComponent<'a> {
    /// Blocks in each MCU of this scan.
    blocks: u32,
    /// Step of the DC values.
    step: i64,
    dc: &'a CodeTable,
    ac: &'a CodeTable,
}

/// State of the headers so far.
struct Headers {
    width: u32,
    height: u32,
    components: Vec<Component>,
    /// First step of each quantisation table, that of the DC values.
    dc_steps: [i64; 4],
    /// Code tables: DC 0 to 3, then AC 0 to 3.
    tables: [Option<Cow<'static, CodeTable>>; 8],
    /// MCUs between restart markers. 0: none.
    interval: u32,
}

/// Looks at the sequential scans of a JPEG. An end marker may be missing: it says nothing of the data.
pub fn look(jpeg: &[u8]) -> ScanLook {
    let mut headers = Headers {
        width: 0,
        height: 0,
        components: Vec::new(),
        dc_steps: [1; 4],
        tables: [const { None }; 8],
        interval: 0,
    };

    match headers.walk(jpeg) {
        Some(fault) => ScanLook::Fault(fault),
        None if headers.is_read() => ScanLook::Whole,
        None => ScanLook::Unknown,
    }
}

/// True if a hole may be in the data: [`ZEROS_MAX`] coefficients of the standard luma table take fifteen
/// bytes, and so many zero bytes hold eight that begin at a multiple of eight.
fn has_zeros(jpeg: &[u8]) -> bool {
    jpeg.as_chunks().0.contains(&[0u8; 8])
}

impl Headers {
    /// Reads all segments and scans up to the end, and returns the first fault.
    fn walk(&mut self, jpeg: &[u8]) -> Option<ScanFault> {
        // Each segment by its length; a scan's data follows its header.
        let mut at = 2;
        loop {
            // Any number of FF may stand before a marker's own byte.
            let fill = jpeg.get(at..)?.iter().position(|byte| *byte != 0xFF)?;
            // Other bytes before a marker: the place is lost, and this look with it.
            if fill == 0 {
                return None;
            }

            let marker = jpeg[at + fill];
            let start = at + fill + 1;
            let length = jpeg.get(start..start + 2)?;
            // The length counts its own two bytes.
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            let content = jpeg.get(start + 2..start + length)?;
            at = start + length;
            // Headers are gathered as they come: tables may change between two scans.
            match marker {
                0xC0 | 0xC1 => self.frame(content)?,
                0xC4 => self.codes(content)?,
                0xDB => self.quantisation(content)?,
                0xDD => self.interval = u32::from(u16::from_be_bytes(*content.first_chunk()?)),
                0xDA => {
                    let scan = self.scan(content)?;
                    let end = match has_zeros(&jpeg[at..]) {
                        true => scan.check::<true>(jpeg, at),
                        false => scan.check::<false>(jpeg, at),
                    };

                    match end {
                        Ok(end) => at = end,
                        Err(fault) => return Some(fault),
                    }

                    self.note_read(content);
                }
                // The end, and frames of other codings.
                0xD9 | 0xC2..=0xCF => return None,
                _ => {}
            }
        }
    }

    /// True if each component had its scan.
    fn is_read(&self) -> bool {
        !self.components.is_empty() && self.components.iter().all(|known| known.is_read)
    }

    /// Notes the components of a scan that was read, by its header.
    fn note_read(&mut self, header: &[u8]) {
        for [id, _] in header[1..]
            .as_chunks::<2>()
            .0
            .iter()
            .take(usize::from(header[0]))
        {
            for known in &mut self.components {
                known.is_read |= known.id == *id;
            }
        }
    }

    /// Frame header: precision (1), height (2), width (2), components (1), then id, factors, table.
    fn frame(&mut self, content: &[u8]) -> Option<()> {
        let [precision, h1, h0, w1, w0, count, rest @ ..] = content else {
            return None;
        };

        self.height = u32::from(u16::from_be_bytes([*h1, *h0]));
        self.width = u32::from(u16::from_be_bytes([*w1, *w0]));
        // Three bytes for each component: its id, its factors across and down, and its quantisation
        // table.
        self.components.clear();
        for [id, factors, table] in rest.as_chunks::<3>().0.iter().take(usize::from(*count)) {
            self.components.push(Component {
                id: *id,
                across: u32::from(factors >> 4),
                down: u32::from(factors & 15),
                quantisation: usize::from(table & 3),
                is_read: false,
            });
        }

        // 12 bits have other limits; a size or a factor of zero would divide by it.
        let is_sane = |component: &Component| component.across > 0 && component.down > 0;
        let has_pixels = self.width > 0 && self.height > 0;
        (*precision == 8 && has_pixels && self.components.iter().all(is_sane)).then_some(())
    }

    /// Quantisation tables: precision and number (1), then 64 steps of one or two bytes.
    fn quantisation(&mut self, content: &[u8]) -> Option<()> {
        let mut rest = content;
        while let [head, steps @ ..] = rest {
            // Steps of 16 bits belong to pictures of 12 bits, but are allowed here, too.
            let is_wide = head >> 4 > 0;
            let first = match is_wide {
                true => i64::from(u16::from_be_bytes(*steps.first_chunk()?)),
                false => i64::from(*steps.first()?),
            };

            // Only the step of the DC values is needed: it is the first one in zigzag order.
            self.dc_steps[usize::from(head & 3)] = first;
            rest = steps.get(if is_wide { 128 } else { 64 }..)?;
        }

        Some(())
    }

    /// Code tables: class and number (1), 16 counts, then the symbols.
    fn codes(&mut self, content: &[u8]) -> Option<()> {
        let mut rest = content;
        while let [head, counts_and_symbols @ ..] = rest {
            // Counts of the codes of 1 to 16 bits, then as many symbols as they sum to.
            let counts: &[u8; 16] = counts_and_symbols.first_chunk()?;
            let symbols: usize = counts.iter().map(|count| usize::from(*count)).sum();
            let symbols = counts_and_symbols.get(16..16 + symbols)?;
            // The class is the high half: 0 for DC, 1 for AC.
            let is_ac = head >> 4 & 1 == 1;
            let place = usize::from(is_ac) * 4 + usize::from(head & 3);
            self.tables[place] = Some(table_of(is_ac, counts, symbols));
            rest = &counts_and_symbols[16 + symbols.len()..];
        }

        Some(())
    }

    /// Scan header: components (1), then id and tables of each.
    fn scan(&self, content: &[u8]) -> Option<Scan<'_>> {
        let (count, rest) = content.split_first()?;
        let count = usize::from(*count);
        let mut components = Vec::with_capacity(count);
        let mut chosen = Component::default();
        // The high half of `tables` is the DC table, the low half the AC table.
        for [id, tables] in rest.as_chunks::<2>().0.iter().take(count) {
            chosen = *self.components.iter().find(|known| known.id == *id)?;
            components.push(ScanComponent {
                // The only component of a scan goes block by block, whatever its factors.
                blocks: if count == 1 {
                    1
                } else {
                    chosen.across * chosen.down
                },
                step: self.dc_steps[chosen.quantisation],
                dc: self.table(usize::from(tables >> 4 & 3)),
                ac: self.table(4 + usize::from(tables & 3)),
            });
        }

        // A header that names fewer than it says is none.
        if components.is_empty() || components.len() != count {
            return None;
        }

        // Pixels of an MCU: those of the largest factors, or of one block of the only component.
        let most_across = self.components.iter().map(|known| known.across).max()?;
        let most_down = self.components.iter().map(|known| known.down).max()?;
        let (across, down) = match count {
            1 => (8 * most_across / chosen.across, 8 * most_down / chosen.down),
            _ => (8 * most_across, 8 * most_down),
        };

        Some(Scan {
            components,
            mcus_across: self.width.div_ceil(across.max(1)),
            mcus: self.width.div_ceil(across.max(1)) * self.height.div_ceil(down.max(1)),
            mcu_rows: down,
            interval: self.interval,
        })
    }

    /// The table of that place; MJPEG frames leave the standard ones out.
    fn table(&self, place: usize) -> &CodeTable {
        match &self.tables[place] {
            // A later table of the same number replaces an earlier one.
            Some(table) => table,
            None => &STANDARD[2 * (place / 4) + (place % 4).min(1)],
        }
    }
}

/// The table of these codes. Most pictures have the standard ones, which are there already.
fn table_of(is_ac: bool, counts: &[u8; 16], symbols: &[u8]) -> Cow<'static, CodeTable> {
    let standard = STANDARD.iter().find(|table| table.is_of(counts, symbols));
    match standard {
        Some(table) => Cow::Borrowed(table),
        None if is_ac => Cow::Owned(CodeTable::of_ac(counts, symbols)),
        None => Cow::Owned(CodeTable::new(counts, symbols)),
    }
}

/// One scan, ready to be read.
struct Scan<'a> {
    components: Vec<ScanComponent<'a>>,
    mcus_across: u32,
    mcus: u32,
    /// Rows of pixels of an MCU.
    mcu_rows: u32,
    interval: u32,
}

impl Scan<'_> {
    /// Reads the data from `at`, and returns where its last marker begins. `HOLES` looks for holes, too.
    fn check<const HOLES: bool>(&self, jpeg: &[u8], at: usize) -> Result<usize, ScanFault> {
        // DC values begin at 0 in each scan, one for each component.
        let mut bits = Bits::new(jpeg, at);
        let mut previous = vec![0; self.components.len()];
        for mcu in 0..self.mcus {
            // A restart begins all differences anew, on a whole byte.
            if self.interval > 0 && mcu > 0 && mcu.is_multiple_of(self.interval) {
                let marker = bits.marker().map_err(|kind| self.fault(kind, mcu, &bits))?;
                bits = Bits::new(jpeg, marker + 2);
                previous.fill(0);
            }

            // The blocks of an MCU: all of the first component, then those of the next one.
            for (component, dc) in self.components.iter().zip(&mut previous) {
                for _ in 0..component.blocks {
                    bits.block::<HOLES>(component, dc)
                        .map_err(|kind| self.fault(kind, mcu, &bits))?;
                }
            }
        }

        // Blocks are complete: what stands before the next marker is left over.
        bits.marker()
            .map_err(|kind| self.fault(kind, self.mcus, &bits))
    }

    fn fault(&self, kind: ScanFaultKind, mcu: u32, bits: &Bits) -> ScanFault {
        ScanFault {
            kind,
            row: mcu / self.mcus_across * self.mcu_rows,
            byte: bits.next as u64,
        }
    }
}

/// Bits of an interval, without the zeros that are stuffed behind FF.
struct Bits<'a> {
    jpeg: &'a [u8],
    /// Next byte to take.
    next: usize,
    /// Bits that were taken, from the highest on.
    buffer: u64,
    /// Number of them. Beyond the end of the data, zeros are added and counted below.
    count: u32,
    /// Bits that were added at a marker.
    added: u32,
    /// Coefficients up to here that were zero bits alone.
    zeros: u32,
}

impl<'a> Bits<'a> {
    fn new(jpeg: &'a [u8], at: usize) -> Self {
        Bits {
            jpeg,
            next: at,
            buffer: 0,
            count: 0,
            added: 0,
            zeros: 0,
        }
    }

    /// Fills the buffer with at least 32 bits: a code and its value have 31 at most.
    #[inline(always)]
    fn fill(&mut self) {
        if self.count >= 32 {
            return;
        }

        // Several bytes at once, where none of the next eight is FF.
        if let Some(eight) = self
            .jpeg
            .get(self.next..)
            .and_then(|rest| rest.first_chunk::<8>())
        {
            let eight = u64::from_be_bytes(*eight);
            let has_ff =
                (!eight).wrapping_sub(0x0101_0101_0101_0101) & eight & 0x8080_8080_8080_8080;
            if has_ff == 0 {
                // As many whole bytes as there is room for; the bits above them are in use.
                let bytes = (63 - self.count) / 8;
                self.buffer |= eight >> self.count;
                self.next += bytes as usize;
                self.count += 8 * bytes;
                // Bits beyond the whole bytes are taken again next time.
                self.buffer &= u64::MAX << (64 - self.count);
                return;
            }
        }

        // Stuffed zeros, markers and the last bytes of the file.
        self.fill_slowly();
    }

    fn fill_slowly(&mut self) {
        while self.count <= 56 {
            // FF is data only where a zero follows, which is then skipped.
            let byte = self.jpeg.get(self.next).copied();
            let after = self.jpeg.get(self.next + 1).copied();
            match (byte, after) {
                (Some(0xFF), Some(0)) => self.next += 2,
                // A marker, or the end of the file: zeros from here on.
                (Some(0xFF), _) | (None, _) => {
                    self.added += 8;
                    self.count += 8;
                    continue;
                }
                _ => self.next += 1,
            }

            // Behind the bits that are there.
            self.buffer |= u64::from(byte.unwrap_or(0)) << (56 - self.count);
            self.count += 8;
        }
    }

    #[inline(always)]
    fn skip(&mut self, bits: u32) {
        // The next bit is always the highest one.
        self.buffer <<= bits;
        self.count -= bits;
    }

    /// Reads one block; `dc` is the component's value before it, and then its own.
    #[inline(always)]
    fn block<const HOLES: bool>(
        &mut self,
        component: &ScanComponent,
        dc: &mut i64,
    ) -> Result<(), ScanFaultKind> {
        self.fill();
        // The size of the DC difference in bits, then the difference itself.
        let size = self.symbol(component.dc)? & 15;
        *dc += self.difference(size);
        // The value in the scale of the samples: 8 times the block's average, less 128.
        if (*dc * component.step).abs() > DC_MAX + DC_ROOM + component.step {
            return Err(ScanFaultKind::Invalid);
        }

        // Coefficients 1 to 63: only their number matters, not their values.
        let mut coefficient = 1;
        while coefficient < 64 {
            self.fill();
            // Several codes at once, unless they reach beyond the block.
            if !HOLES {
                let steps = component.ac.look_up_many(self.buffer);
                let reached = coefficient + u32::from(steps.coefficients);
                if steps.bits > 0 && reached + u32::from(steps.ends) <= 64 {
                    self.skip(u32::from(steps.bits));
                    coefficient = reached;
                    if steps.ends {
                        break;
                    }

                    continue;
                }
            }

            let Some(step) = component.ac.look_up_step(self.buffer) else {
                return Err(self.no_code());
            };

            if HOLES {
                self.count_zeros(step)?;
            }

            self.skip(u32::from(step & 0xFF));
            coefficient += u32::from(step >> 8);
        }

        // A run that leads beyond the last coefficient was not written by an encoder.
        if coefficient > 64 && coefficient < END_OF_BLOCK {
            return Err(ScanFaultKind::Invalid);
        }

        // The zeros that were added at the marker must not have been used.
        if self.count < self.added {
            return Err(ScanFaultKind::Missing);
        }

        Ok(())
    }

    /// Counts coefficients of zero bits alone. The end of a block counts as none, and ends no row: it may
    /// have zeros alone in a picture without texture.
    fn count_zeros(&mut self, step: u16) -> Result<(), ScanFaultKind> {
        let has_ones = self.buffer >> (64 - u32::from(step & 0xFF)) != 0;
        if has_ones {
            self.zeros = 0;
        } else if u32::from(step >> 8) != END_OF_BLOCK {
            self.zeros += 1;
        }

        match self.zeros {
            0..ZEROS_MAX => Ok(()),
            _ => Err(ScanFaultKind::Invalid),
        }
    }

    /// The next code's symbol. At least 16 bits are in the buffer.
    #[inline(always)]
    fn symbol(&mut self, table: &CodeTable) -> Result<u32, ScanFaultKind> {
        let Some((symbol, length)) = table.look_up(self.buffer) else {
            return Err(self.no_code());
        };

        self.skip(length);
        Ok(symbol)
    }

    /// The fault where no code begins with the next bits: zeros that were added may be among them.
    fn no_code(&self) -> ScanFaultKind {
        if self.count < self.added + 16 {
            ScanFaultKind::Missing
        } else {
            ScanFaultKind::Invalid
        }
    }

    /// The next `size` bits as a difference: its highest bit is 0 for negative ones (F.2.2.1).
    #[inline(always)]
    fn difference(&mut self, size: u32) -> i64 {
        if size == 0 {
            return 0;
        }

        // `size` is at most 15.
        let bits = (self.buffer >> (64 - size)) as i64;
        self.skip(size);
        if bits < 1 << (size - 1) {
            bits - (1 << size) + 1
        } else {
            bits
        }
    }

    /// Where the marker after the interval begins, if few enough bytes are left over before it.
    fn marker(&self) -> Result<usize, ScanFaultKind> {
        // Whole bytes in the buffer were not used.
        let in_buffer = (self.count.saturating_sub(self.added) / 8) as usize;
        // Bytes from here on were not even taken into the buffer.
        let mut at = self.next;
        let mut left_over = in_buffer;
        while let Some(pair) = self.jpeg.get(at..at + 2) {
            match pair {
                // Any number of FF may stand before a marker.
                [0xFF, 0xFF] => at += 1,
                [0xFF, 0] => {
                    at += 2;
                    left_over += 1;
                }
                [0xFF, _] => break,
                _ => {
                    at += 1;
                    left_over += 1;
                }
            }
        }

        match left_over {
            0..=SURPLUS_MAX => Ok(at),
            more => Err(ScanFaultKind::LeftOver(more as u32)),
        }
    }
}
