//! How the page writes numbers and days, by `numbers` of `[page]`. What programs read keeps the point: CSV, JSON, figures
//! in forms and pictures. Sentences of the line itself (causes, answers, the audit log) keep it as well.

use jiff::civil::DateTime;
use serde::Deserialize;
use std::sync::OnceLock;

/// Form of numbers and days on the screens of a page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NumberForm {
    /// `1.5` and `2026-11-30`.
    #[default]
    Point,
    /// `1,5` and `30.11.2026`.
    Comma,
}

/// The form of this process, which has one page at most.
static FORM: OnceLock<NumberForm> = OnceLock::new();

/// Sets the form, once: before the first screen.
pub fn choose(form: NumberForm) {
    // A second one in a process is a test's.
    let _ = FORM.set(form);
}

/// The form of this process.
pub fn form() -> NumberForm {
    FORM.get().copied().unwrap_or_default()
}

/// A number with so many digits behind the point.
pub fn decimal(value: impl Into<f64>, digits: usize) -> String {
    form().decimal(value.into(), digits)
}

/// A number with as many digits as it needs.
pub fn shortest(value: f64) -> String {
    form().shortest(value)
}

/// A day and a time of it, to the second.
pub fn day_and_second(at: DateTime) -> String {
    let day = form().day(at);

    format!("{day} {}", at.strftime("%H:%M:%S"))
}

/// The same to the minute.
pub fn day_and_minute(at: DateTime) -> String {
    let day = form().day(at);

    format!("{day} {}", at.strftime("%H:%M"))
}

impl NumberForm {
    /// The sign before the digits of a fraction.
    pub fn sign(self) -> &'static str {
        match self {
            NumberForm::Point => ".",
            NumberForm::Comma => ",",
        }
    }

    /// The form by example, for people.
    pub fn example(self) -> &'static str {
        match self {
            NumberForm::Point => "1.5 and 2026-11-30",
            NumberForm::Comma => "1,5 and 30.11.2026",
        }
    }

    fn decimal(self, value: f64, digits: usize) -> String {
        format!("{value:.digits$}").replace('.', self.sign())
    }

    fn shortest(self, value: f64) -> String {
        value.to_string().replace('.', self.sign())
    }

    fn day(self, at: DateTime) -> String {
        let form = match self {
            NumberForm::Point => "%Y-%m-%d",
            NumberForm::Comma => "%d.%m.%Y",
        };

        at.strftime(form).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn numbers_and_days_have_the_form_that_was_chosen() {
        let at = date(2026, 11, 30).at(14, 5, 6, 0);
        for (form, number, day) in [
            (NumberForm::Point, "-1234.50", "2026-11-30"),
            (NumberForm::Comma, "-1234,50", "30.11.2026"),
        ] {
            assert_eq!(form.decimal(-1234.5, 2), number);
            assert_eq!(form.day(at), day);
            assert_eq!(form.shortest(0.1), format!("0{}1", form.sign()));
        }

        // Nothing was chosen here.
        assert_eq!(decimal(0.25_f32, 3), "0.250");
        assert_eq!(day_and_second(at), "2026-11-30 14:05:06");
        assert_eq!(day_and_minute(at), "2026-11-30 14:05");
    }
}
