//! Share of a map's cells whose mean is the score of a picture without words.
//!
//! AnomalyDINO takes the highest 1 % (Damm et al., arXiv 2405.14529). A smaller share follows a small defect,
//! a larger one is steadier where many cells differ a little from the references.

use std::str::FromStr;

/// Share of the highest cells of a map that make its score: at least [`TopShare::LEAST`], at most 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct TopShare(f64);

impl TopShare {
    /// The smallest share, a cell of the largest merged map.
    pub const LEAST: f64 = 0.0001;
    /// Share where the recipe says no other: AnomalyDINO's.
    pub const USUAL: TopShare = TopShare(0.01);

    /// A share of all cells; `None` where it is out of bounds, or no number.
    pub const fn new(share: f64) -> Option<Self> {
        if share >= Self::LEAST && share <= 1.0 {
            Some(TopShare(share))
        } else {
            None
        }
    }

    /// The share, above 0 and at most 1.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Number of cells, of so many that count: rounded down, and at least one.
    pub fn count(self, cells: usize) -> usize {
        // 0.07 x 100 is a little above 7, and 0.29 x 100 a little below 29: a product that is a whole number
        // but for the rounding is that number.
        let product = self.0 * cells as f64;
        let whole = product.round();
        let count = match (product - whole).abs() < 1e-6 {
            true => whole,
            false => product.floor(),
        };

        (count as usize).max(1)
    }
}

impl FromStr for TopShare {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let share = text.parse().ok().and_then(TopShare::new);
        share.ok_or_else(|| {
            format!(
                "must be {} to 1, a share of the map's cells; 0.01 is the usual one",
                TopShare::LEAST
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_share_is_one_cell_in_a_hundred() {
        for cells in 1..20_000 {
            assert_eq!(TopShare::USUAL.count(cells), (cells / 100).max(1));
        }

        let share = |share| TopShare::new(share).expect("in bounds");
        assert_eq!(share(0.29).count(100), 29);
        assert_eq!(share(0.07).count(100), 7);
        assert_eq!([0.004, 0.02].map(|s| share(s).count(256)), [1, 5]);
        assert_eq!(share(1.0).count(256), 256);
    }

    #[test]
    fn a_share_out_of_bounds_is_none() {
        for share in [0.0, -0.01, 1.01, f64::NAN, f64::INFINITY] {
            assert_eq!(TopShare::new(share), None, "{share}");
        }

        assert_eq!("0.02".parse(), Ok(TopShare(0.02)));
        let refused = "2".parse::<TopShare>();
        assert!(refused.is_err_and(|why| why.contains("must be 0.0001 to 1")));
    }
}
