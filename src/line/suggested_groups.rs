//! The groups of a suggestion with their pictures, and their numbers.

use crate::data::verdict::Defect;
use crate::line::doubtful::DoubtfulPart;
use crate::protocol::suggestion::{Doubt, NAMED_MAX, SuggestedGroup, SuggestedPart};
use crate::recipe::grouping;

/// Groups of a suggestion, the largest ones.
pub const GROUPS_MAX: usize = 8;

/// The last suggestion; empty before the first.
#[derive(Default)]
pub struct Suggestion {
    /// Name of the recipe whose parts they are.
    pub recipe: String,
    /// Its groups, the largest first.
    pub groups: Vec<Group>,
    /// Number of the last group of this run.
    last: u64,
}

/// Doubtful parts of one look, the oldest first.
pub struct Group {
    /// Its number.
    pub number: u64,
    /// The parts, each with the place that is odd.
    pub parts: Vec<(DoubtfulPart, Defect)>,
}

/// Parts with what an engine has seen on them.
#[derive(Default)]
pub struct Looked {
    /// The parts, each with the place that is odd.
    pub parts: Vec<(DoubtfulPart, Defect)>,
    /// Look of each.
    pub directions: Vec<Vec<f32>>,
    /// Number of parts that could not be looked at.
    pub failed: usize,
}

impl Suggestion {
    /// Makes groups, the largest ones, with numbers that no group before has had.
    pub fn take(&mut self, looked: Looked) {
        for members in grouping::group(&looked.directions)
            .into_iter()
            .take(GROUPS_MAX)
        {
            self.last += 1;
            let parts = members.into_iter().map(|index| looked.parts[index].clone());
            self.groups.push(Group {
                number: self.last,
                parts: parts.collect(),
            });
        }
    }

    /// The group of that number.
    ///
    /// # Errors
    /// When there is none: those that there are.
    pub fn find(&self, number: u64) -> Result<&Group, String> {
        let found = self.groups.iter().find(|group| group.number == number);
        found.ok_or_else(|| {
            let numbers: Vec<String> = self
                .groups
                .iter()
                .map(|group| group.number.to_string())
                .collect();

            let there_are = match numbers.is_empty() {
                true => "there is none; ask for a suggestion".to_owned(),
                false => format!("there are {}", numbers.join(", ")),
            };

            format!(
                "group {number} is none of the last suggestion, or was taken already: {there_are}"
            )
        })
    }
}

impl Group {
    /// The group as an answer tells it.
    pub fn told(&self) -> SuggestedGroup {
        let count = |doubt| {
            let parts = self.parts.iter();
            parts.filter(|(part, _)| part.doubt == doubt).count()
        };

        SuggestedGroup {
            group: self.number,
            near: count(Doubt::Near),
            overruled: count(Doubt::Overruled),
            parts: self
                .parts
                .iter()
                .take(NAMED_MAX)
                .map(|(part, place)| told(part, place))
                .collect(),
        }
    }
}

fn told(part: &DoubtfulPart, place: &Defect) -> SuggestedPart {
    SuggestedPart {
        part: part.part.clone(),
        region: part.margin.region.as_deref().map(str::to_owned),
        why: part.doubt,
        score: part.margin.score,
        threshold: part.margin.threshold,
        x: place.x,
        y: place.y,
        w: place.w,
        h: place.h,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::picture::Picture;
    use crate::line::doubtful::Margin;
    use std::sync::Arc;

    fn looked(directions: &[[f32; 2]]) -> Looked {
        let picture = Arc::new(Picture::new(1, 1, vec![0; 3]).expect("a picture"));
        let part = |number: usize| DoubtfulPart {
            picture: picture.clone(),
            part: number.to_string(),
            recipe: "nut".to_owned(),
            doubt: if number == 0 {
                Doubt::Overruled
            } else {
                Doubt::Near
            },
            margin: Margin {
                region: None,
                score: 0.3,
                threshold: 0.31,
            },
        };

        let place = Defect {
            x: 0,
            y: 0,
            w: 1,
            h: 1,
            peak: 0.5,
        };

        Looked {
            parts: (0..directions.len())
                .map(|number| (part(number), place))
                .collect(),
            directions: directions.iter().map(|one| one.to_vec()).collect(),
            failed: 0,
        }
    }

    #[test]
    fn no_two_groups_of_a_run_have_one_number() {
        let mut suggestion = Suggestion::default();
        let [one, other] = [[1.0, 0.0], [0.0, 1.0]];
        suggestion.take(looked(&[one, other, one, one, one, one]));
        let told: Vec<SuggestedGroup> = suggestion.groups.iter().map(Group::told).collect();
        assert_eq!((told[0].group, told[0].near, told[0].overruled), (1, 4, 1));
        assert_eq!((told[1].group, told[1].near, told[1].overruled), (2, 1, 0));
        assert_eq!(told[0].parts.len(), NAMED_MAX);
        suggestion.groups.clear();
        suggestion.take(looked(&[other]));
        assert!(suggestion.find(3).is_ok());
        let refused = suggestion.find(1).err().expect("of an earlier one");
        assert!(refused.ends_with("there are 3"), "{refused}");
        suggestion.groups.clear();
        let refused = suggestion.find(3).err().expect("taken");
        assert!(
            refused.ends_with("there is none; ask for a suggestion"),
            "{refused}"
        );
    }
}
