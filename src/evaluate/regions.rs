//! The connected regions of a mask, kept as runs of pixels: a few bytes a row instead of a label a
//! pixel.
//!
//! Our own labelling: the runs are what has to be kept anyway, and joining those of neighbouring
//! rows (a union-find over runs) is less code than making them of the label picture that an imaging
//! library gives.

use std::ops::Range;

/// Pixels `start..end` of one row of a defect, counted row-major from 0; a picture has 200 million
/// at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PixelRun {
    start: u32,
    end: u32,
    region: u32,
}

/// The regions of one picture: eight-connected, as OpenCV's `connectedComponents` and so anomalib's
/// AUPRO has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regions {
    pixels: usize,
    /// Runs in the order of their pixels.
    runs: Vec<PixelRun>,
    count: u32,
}

impl Regions {
    /// The regions of a good picture: none.
    pub fn none(pixels: usize) -> Self {
        Regions {
            pixels,
            runs: vec![],
            count: 0,
        }
    }

    /// The regions of a mask of rows of `width` pixels, at least one; true is defect.
    pub fn of(mask: &[bool], width: usize) -> Self {
        let mut labelling = Labelling::default();

        // The runs of the row above; empty before the first row, which nothing is above of.
        let mut above = 0..0;

        for (row, line) in mask.chunks(width).enumerate() {
            let first = labelling.runs.len();

            // Pixels are numbered row by row through the whole mask, which fits `u32` up to 4
            // billion pixels.
            let mut start = (row * width) as u32;

            // Each run of equal values in the row; only those of the defect are kept.
            for same in line.chunk_by(PartialEq::eq) {
                let end = start + same.len() as u32;

                if same[0] {
                    labelling.add(start..end, &mut above, width as u32);
                }

                start = end;
            }

            // The runs that this row has added are above the next one.
            above = first..labelling.runs.len();
        }

        // Sets are joined while rows are read, so that regions get their numbers at the end.
        let count = labelling.number();
        Regions {
            pixels: mask.len(),
            runs: labelling.runs,
            count,
        }
    }

    /// Number of pixels of the picture.
    pub fn pixels(&self) -> usize {
        self.pixels
    }

    /// Number of pixels in regions.
    pub fn bad_pixels(&self) -> usize {
        self.runs
            .iter()
            .map(|run| (run.end - run.start) as usize)
            .sum()
    }

    /// Number of regions; they are numbered from 0.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The region of each pixel, row-major.
    pub fn labels(&self) -> impl Iterator<Item = Option<u32>> + '_ {
        let mut runs = self.runs.iter().peekable();

        // The runs are in the order of the pixels. A run that ends is passed by at the first pixel
        // after it.
        (0..self.pixels as u32).map(move |pixel| {
            runs.next_if(|run| run.end <= pixel);
            runs.peek()
                .filter(|run| run.start <= pixel)
                .map(|run| run.region)
        })
    }
}

/// Runs so far, and which of them touch.
#[derive(Default)]
struct Labelling {
    runs: Vec<PixelRun>,
    sets: RunSets,
}

impl Labelling {
    /// Adds a run, and joins it with those of the row above that touch it. `above` loses those that
    /// end left of it.
    fn add(&mut self, pixels: Range<u32>, above: &mut Range<usize>, width: u32) {
        let Range { start, end } = pixels;

        // Every run begins as a region of its own, and is joined with those above it.
        let region = self.sets.add();
        self.runs.push(PixelRun { start, end, region });

        // Those that end left of this one are left of all that follow; corners touch.
        while above.start < above.end && self.runs[above.start].end + width < start {
            above.start += 1;
        }

        // Other runs above may touch this one too, and then are one region with it.
        for other in above.clone() {
            // Runs are in order: one that begins right of this one is followed by none that
            // touches.
            if self.runs[other].start + width > end {
                break;
            }

            self.sets.join(region, other as u32);
        }
    }

    /// Numbers the regions from 0, and returns how many there are.
    fn number(&mut self) -> u32 {
        // Roots come before the rest of their regions, so that one pass numbers all.
        let mut count = 0;

        for index in 0..self.runs.len() {
            // The root is the first run of its region.
            let root = self.sets.root(index as u32) as usize;
            self.runs[index].region = if root < index {
                self.runs[root].region
            } else {
                count += 1;
                count - 1
            };
        }

        count
    }
}

/// Sets of runs: each points at one of its set with a lower or the same number, the root at itself.
#[derive(Default)]
struct RunSets(Vec<u32>);

impl RunSets {
    fn add(&mut self) -> u32 {
        let run = self.0.len() as u32;
        self.0.push(run);

        run
    }

    fn root(&mut self, mut run: u32) -> u32 {
        // Path halving: each second run is hung on its grandparent on the way, which keeps later
        // ways short.
        while self.0[run as usize] != run {
            let next = self.0[run as usize];
            self.0[run as usize] = self.0[next as usize];
            run = next;
        }

        run
    }

    fn join(&mut self, a: u32, b: u32) {
        // The lower run becomes the root, which `number` relies on.
        let a = self.root(a);
        let b = self.root(b);
        self.0[a.max(b) as usize] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By the definition: the lowest label spreads to neighbours until nothing changes.
    fn naive(mask: &[bool], width: usize) -> Vec<Option<usize>> {
        let mut labels: Vec<_> = mask
            .iter()
            .enumerate()
            .map(|(i, bad)| bad.then_some(i))
            .collect();

        loop {
            let before = labels.clone();
            for i in 0..mask.len() {
                let near = |j: &usize| {
                    (j / width).abs_diff(i / width) <= 1 && (j % width).abs_diff(i % width) <= 1
                };

                let lowest = (0..mask.len()).filter(near).filter_map(|j| labels[j]).min();
                labels[i] = labels[i].and(lowest);
            }

            if labels == before {
                return labels;
            }
        }
    }

    proptest! {
        #[test]
        fn regions_are_what_spreading_labels_find(width in 1usize..8, mask in prop::collection::vec(any::<bool>(), 0..56)) {
            let mask = &mask[..mask.len() / width * width];
            let naive = naive(mask, width);
            let mut roots: Vec<usize> = naive.iter().flatten().copied().collect();
            roots.sort_unstable();
            roots.dedup();
            let number = |root: usize| roots.iter().position(|known| *known == root).map(|place| place as u32);
            let expected: Vec<Option<u32>> = naive.into_iter().map(|label| label.and_then(number)).collect();
            let regions = Regions::of(mask, width);
            prop_assert_eq!(regions.labels().collect::<Vec<_>>(), expected);
            prop_assert_eq!(regions.count() as usize, roots.len());
            prop_assert_eq!(regions.bad_pixels(), mask.iter().filter(|bad| **bad).count());
        }
    }
}
