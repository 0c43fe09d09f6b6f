//! The connected regions of a mask, kept as runs of pixels: a few bytes a row instead of a label a pixel.
//!
//! Our own labelling: the runs are what has to be kept anyway, and joining those of neighbouring rows (a union-find over
//! runs) is less code than making them of the label picture that an imaging library gives.

/// Pixels `start..end` of one row of a defect, counted row-major from 0; a picture has 200 million at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    start: u32,
    end: u32,
    region: u32,
}

/// The regions of one picture: eight-connected, as OpenCV's `connectedComponents` and so anomalib's AUPRO has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regions {
    pixels: usize,
    /// In order.
    runs: Vec<Run>,
    count: u32,
}

impl Regions {
    /// Of a good picture.
    pub fn none(pixels: usize) -> Self {
        Regions {
            pixels,
            runs: vec![],
            count: 0,
        }
    }

    /// Of a mask of rows of `width` pixels, at least one; true is defect.
    pub fn of(mask: &[bool], width: usize) -> Self {
        let (mut runs, mut joined): (Vec<Run>, Joined) = (vec![], Joined(vec![]));
        let (mut pixel, mut above) = (0, 0..0);
        let row = width as u32;
        for line in mask.chunks(width) {
            let first = runs.len();
            for same in line.chunk_by(PartialEq::eq) {
                let (start, end) = (pixel, pixel + same.len() as u32);
                pixel = end;
                if !same[0] {
                    continue;
                }
                let this = joined.add();
                runs.push(Run {
                    start,
                    end,
                    region: this,
                });
                // Those that end left of this one are left of all that follow; corners touch.
                while above.start < above.end && runs[above.start].end + row < start {
                    above.start += 1;
                }
                let touching = above
                    .clone()
                    .take_while(|other| runs[*other].start + row <= end);
                touching.for_each(|other| joined.join(this, other as u32));
            }
            above = first..runs.len();
        }
        let mut count = 0;
        for index in 0..runs.len() {
            // The root is the first run of its region.
            let root = joined.root(index as u32) as usize;
            runs[index].region = if root < index {
                runs[root].region
            } else {
                count
            };
            count += u32::from(root == index);
        }
        Regions {
            pixels: mask.len(),
            runs,
            count,
        }
    }

    /// Of the picture.
    pub fn pixels(&self) -> usize {
        self.pixels
    }

    /// How many pixels lie in regions.
    pub fn bad_pixels(&self) -> usize {
        self.runs
            .iter()
            .map(|run| (run.end - run.start) as usize)
            .sum()
    }

    /// How many regions; they are numbered from 0.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The region of each pixel, row-major.
    pub fn labels(&self) -> impl Iterator<Item = Option<u32>> + '_ {
        let mut runs = self.runs.iter().peekable();
        (0..self.pixels as u32).map(move |pixel| {
            runs.next_if(|run| run.end <= pixel);
            runs.peek()
                .filter(|run| run.start <= pixel)
                .map(|run| run.region)
        })
    }
}

/// Sets of runs: each points at one of its set with a lower or the same number, the root at itself.
struct Joined(Vec<u32>);

impl Joined {
    fn add(&mut self) -> u32 {
        self.0.push(self.0.len() as u32);
        self.0.len() as u32 - 1
    }

    fn root(&mut self, mut run: u32) -> u32 {
        while self.0[run as usize] != run {
            let next = self.0[run as usize];
            self.0[run as usize] = self.0[next as usize];
            run = next;
        }
        run
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
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
