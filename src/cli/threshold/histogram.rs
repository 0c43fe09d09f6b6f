//! A histogram of the scores of good and bad parts, as text and as an SVG figure.

use super::choice::KnownScores;
use std::fmt::Write;

/// Bars of the histogram.
const BARS: usize = 24;
/// Characters of the longest bar.
const BAR_WIDTH: usize = 40;
/// Width of the figure's field, in its pixels.
const WIDTH: f64 = 640.0;
/// Height of the figure's field.
const HEIGHT: f64 = 240.0;
/// Room beside and below the field for numbers.
const MARGIN: f64 = 40.0;
/// Room above the field for the title and the names of thresholds.
const TOP: f64 = 76.0;
/// Room right of the field for the name of a threshold at its edge.
const RIGHT: f64 = 160.0;

/// Numbers of parts in bars of equal width.
pub struct Histogram {
    /// Lowest score.
    low: f32,
    /// Width of a bar.
    step: f32,
    good: [usize; BARS],
    bad: [usize; BARS],
}

/// A threshold that is drawn into the histogram, with its name.
pub struct ThresholdMark {
    /// The name.
    pub name: String,
    /// The threshold.
    pub threshold: f32,
}

impl Histogram {
    /// Counts the scores; `None` without any.
    pub fn new(known: &KnownScores) -> Option<Self> {
        let all = || known.good.iter().chain(&known.bad).copied();
        let low = all().min_by(f32::total_cmp)?;
        let high = all().max_by(f32::total_cmp)?;
        let mut histogram = Histogram {
            low,
            // Scores that are all the same share the first bar.
            step: ((high - low) / BARS as f32).max(f32::EPSILON),
            good: [0; BARS],
            bad: [0; BARS],
        };

        for score in &known.good {
            histogram.good[histogram.bar(*score)] += 1;
        }

        for score in &known.bad {
            histogram.bad[histogram.bar(*score)] += 1;
        }

        Some(histogram)
    }

    fn bar(&self, score: f32) -> usize {
        let bar = (score - self.low) / self.step;
        (bar as usize).min(BARS - 1)
    }

    fn highest(&self) -> usize {
        let sums = self
            .good
            .iter()
            .zip(&self.bad)
            .map(|(good, bad)| good + bad);
        sums.max().unwrap_or_default().max(1)
    }

    /// Returns a line for each bar: its lowest score, `o` for good parts, `x` for bad ones, and the
    /// thresholds that lie in it.
    pub fn text(&self, marks: &[ThresholdMark]) -> Vec<String> {
        let scale = (BAR_WIDTH as f64 / self.highest() as f64).min(1.0);
        let mut lines = vec![];
        for bar in 0..BARS {
            // A few parts of many keep a sign of their own.
            let signs = |count: usize| (count as f64 * scale).ceil() as usize;
            let good = "o".repeat(signs(self.good[bar]));
            let bad = "x".repeat(signs(self.bad[bar]));

            let score = self.low + bar as f32 * self.step;
            let mut line = format!("{score:.4} {good}{bad}");

            let in_bar = marks.iter().filter(|mark| self.bar(mark.threshold) == bar);
            for mark in in_bar {
                let _ = write!(line, "  < {} {:.4}", mark.name, mark.threshold); // into memory
            }

            lines.push(line);
        }

        lines
    }

    /// Returns the histogram as an SVG figure with a title.
    pub fn svg(&self, title: &str, marks: &[ThresholdMark]) -> String {
        let width = MARGIN + WIDTH + RIGHT;
        let height = TOP + HEIGHT + MARGIN;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
             <text x=\"{MARGIN}\" y=\"16\">{}</text>\n",
            escaped(title)
        );

        for bar in 0..BARS {
            self.draw_bar(bar, &mut svg);
        }

        self.draw_axis(&mut svg);

        // From left to right each name stands lower than the one before, so that no line crosses it.
        let mut marks: Vec<&ThresholdMark> = marks.iter().collect();
        marks.sort_by(|a, b| a.threshold.total_cmp(&b.threshold));
        for (number, mark) in marks.into_iter().enumerate() {
            self.draw_mark(number, mark, &mut svg);
        }

        svg + "</svg>\n"
    }

    fn draw_bar(&self, bar: usize, svg: &mut String) {
        let unit = HEIGHT / self.highest() as f64;
        let wide = WIDTH / BARS as f64;
        let x = MARGIN + bar as f64 * wide;
        let mut foot = TOP + HEIGHT;

        // Bad parts stand on the good ones, so that none hides the other.
        for (count, colour) in [(self.good[bar], "#2a7f62"), (self.bad[bar], "#c2410c")] {
            let high = count as f64 * unit;
            foot -= high;
            if count > 0 {
                svg.push_str(&format!(
                    "<rect x=\"{x:.1}\" y=\"{foot:.1}\" width=\"{:.1}\" height=\"{high:.1}\" fill=\"{colour}\"/>\n",
                    wide - 2.0
                ));
            }
        }
    }

    fn draw_axis(&self, svg: &mut String) {
        let foot = TOP + HEIGHT;
        let end = MARGIN + WIDTH;
        svg.push_str(&format!(
            "<path d=\"M{MARGIN} {foot}H{end}\" stroke=\"#333\"/>\n\
             <text x=\"4\" y=\"{}\">{}</text>\n",
            TOP + 12.0,
            self.highest()
        ));

        // Scores under the ends and the quarters of the axis.
        for quarter in 0..=4 {
            let x = MARGIN + WIDTH * f64::from(quarter) / 4.0;
            let score = self.low + self.step * BARS as f32 * quarter as f32 / 4.0;
            let y = foot + 16.0;
            svg.push_str(&format!(
                "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{score:.3}</text>\n"
            ));
        }

        let legend = foot + 34.0;
        svg.push_str(&format!(
            "<text x=\"{MARGIN}\" y=\"{legend}\" fill=\"#2a7f62\">good parts</text>\n\
             <text x=\"{}\" y=\"{legend}\" fill=\"#c2410c\">bad parts</text>\n",
            MARGIN + 80.0
        ));
    }

    /// Returns the place of a threshold along the field, from 0 to 1; one beyond all scores stands at
    /// the edge.
    fn along(&self, threshold: f32) -> f64 {
        let along = f64::from((threshold - self.low) / (self.step * BARS as f32));
        along.clamp(0.0, 1.0)
    }

    fn draw_mark(&self, number: usize, mark: &ThresholdMark, svg: &mut String) {
        let x = MARGIN + WIDTH * self.along(mark.threshold);
        let y = 34.0 + 14.0 * number as f64;
        let foot = TOP + HEIGHT;
        let name = escaped(&mark.name);
        let threshold = mark.threshold;
        svg.push_str(&format!(
            "<path d=\"M{x:.1} {}V{foot}\" stroke=\"#333\" stroke-dasharray=\"4 3\"/>\n\
             <text x=\"{:.1}\" y=\"{y}\">{name} {threshold:.4}</text>\n",
            y - 8.0,
            x + 4.0
        ));
    }
}

/// Returns text as XML takes it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_in_one_bar_and_every_threshold_in_the_figure() {
        let good = (0..50).map(|score| score as f32 / 100.0).collect();
        let known = KnownScores::new(good, vec![0.6, 0.72]);
        let histogram = Histogram::new(&known).expect("scores");
        let counted: usize = histogram.good.iter().chain(&histogram.bad).sum();
        assert_eq!(counted, 52);
        let mark = |name: &str, threshold| ThresholdMark {
            name: name.to_owned(),
            threshold,
        };

        let marks = [mark("by <rate>", 0.5), mark("far", 2.0)];
        let text = histogram.text(&marks).join("\n");
        assert_eq!(text.lines().count(), BARS);
        assert!(
            text.contains("< by <rate> 0.5000") && text.contains("x  < far 2.0000"),
            "{text}"
        );
        let svg = histogram.svg("cookies & more", &marks);
        assert!(svg.contains("cookies &amp; more") && svg.contains("by &lt;rate> 0.5000"));
        assert_eq!(
            svg.matches("#2a7f62").count(),
            1 + histogram.good.iter().filter(|n| **n > 0).count()
        );
    }

    #[test]
    fn scores_that_are_all_the_same_have_a_histogram_and_none_has_none() {
        assert!(Histogram::new(&KnownScores::default()).is_none());
        let alike = KnownScores::new(vec![0.3; 100], vec![]);
        let text = Histogram::new(&alike).expect("scores").text(&[]);
        assert_eq!(text[0], format!("0.3000 {}", "o".repeat(BAR_WIDTH)));
    }
}
