//! Commands about the revisions of a recipe of the library: teach, label, forget, rollback, edit and shadow. Pure,
//! like all commands here.

use super::editing::EditCommand;
use super::reading::read;
use super::shadow::ShadowCommand;
use super::suggestion::SuggestCommand;
use super::values::{fits, text_or_number};
use super::what_if::WhatIfCommand;
use serde::{Deserialize, Serialize};

/// Parts of one lesson at most.
pub const LESSON_MAX: u32 = 256;
/// Characters of a note at most.
const NOTE_MAX: usize = 500;
/// Characters of a name at most.
const NAME_MAX: usize = 64;
/// Hexadecimal digits of a picture's hash: as many as a person types, and all that it has.
const HASH_DIGITS: std::ops::RangeInclusive<usize> = 8..=64;

/// Kind of a known part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaughtAs {
    /// A good part: it becomes a reference.
    Good,
    /// A bad part: it must fail from now on.
    Bad,
}

/// A lesson: the next parts are known, or those of a suggested group, and become pictures of a recipe.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeachCommand {
    #[serde(default, deserialize_with = "text_or_number")]
    pub(super) id: Option<String>,
    /// The recipe; the one that judges unless given.
    pub recipe: Option<String>,
    /// Camera of the parts; any unless given.
    pub camera: Option<String>,
    /// Number of parts; 0 where a group is named.
    #[serde(default)]
    pub parts: u32,
    /// Number of the suggested group, in place of the next parts.
    pub group: Option<u64>,
    /// Run of the group: numbers begin anew with each run.
    pub run_id: Option<String>,
    /// Kind of the parts.
    #[serde(rename = "as")]
    pub taught_as: TaughtAs,
    /// True where the revision is to be a candidate, which does not judge the line.
    #[serde(default)]
    pub candidate: bool,
}

#[cfg(test)]
impl TeachCommand {
    /// A lesson of the recipe that judges, for tests.
    pub fn new(camera: Option<&str>, parts: u32, taught_as: TaughtAs) -> Self {
        TeachCommand {
            id: None,
            recipe: None,
            camera: camera.map(str::to_owned),
            parts,
            group: None,
            run_id: None,
            taught_as,
            candidate: false,
        }
    }
}

/// A part that was judged a while ago is known.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelCommand {
    #[serde(default, deserialize_with = "text_or_number")]
    pub(super) id: Option<String>,
    /// The recipe; the one that judges unless given.
    pub recipe: Option<String>,
    /// Run of the part: a command may come again after a restart, and numbers begin anew with each run.
    pub run_id: String,
    /// Camera of the part, or the name that several share.
    pub camera: String,
    /// Number of the part.
    pub seq: u64,
    /// Kind of the part; none where there is a note alone.
    #[serde(rename = "as")]
    pub label: Option<Label>,
    /// Words on the part, which are kept with it.
    pub note: Option<String>,
    /// True where the revision is to be a candidate.
    #[serde(default)]
    pub candidate: bool,
    /// False where the label is kept with the part and the recipe learns nothing of it yet.
    #[serde(default = "yes")]
    pub teach: bool,
}

fn yes() -> bool {
    true
}

/// Label of a part that was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// A good part.
    Good,
    /// A bad part.
    Bad,
    /// A bad part, seen by a person who looked at a reject: the same as bad.
    ReallyBad,
    /// A good part that failed.
    FalseReject,
    /// A part of which the person is not sure: it is not taught.
    NotSure,
}

impl Label {
    /// The kind as which such a part is taught; `None` where it is not.
    pub fn taught_as(self) -> Option<TaughtAs> {
        match self {
            Label::Good | Label::FalseReject => Some(TaughtAs::Good),
            Label::Bad | Label::ReallyBad => Some(TaughtAs::Bad),
            Label::NotSure => None,
        }
    }

    /// The word in commands and in the history.
    pub fn word(self) -> &'static str {
        match self {
            Label::Good => "good",
            Label::Bad => "bad",
            Label::ReallyBad => "really_bad",
            Label::FalseReject => "false_reject",
            Label::NotSure => "not_sure",
        }
    }
}

/// A picture is no part of a recipe any more.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgetCommand {
    #[serde(default, deserialize_with = "text_or_number")]
    pub(super) id: Option<String>,
    /// The recipe; the one that judges unless given.
    pub recipe: Option<String>,
    /// The first digits of the picture's SHA-256, at least 8.
    pub picture: String,
    /// True where the revision is to be a candidate.
    #[serde(default)]
    pub candidate: bool,
}

/// Another revision of a recipe becomes the current one.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackCommand {
    #[serde(default, deserialize_with = "text_or_number")]
    pub(super) id: Option<String>,
    /// The recipe; the one that judges unless given.
    pub recipe: Option<String>,
    /// The revision; the one that judged before unless given.
    pub revision: Option<u64>,
    /// True where a candidate may become it although that loses what was taught since it was made.
    #[serde(default)]
    pub force: bool,
}

/// A command about the revisions of a recipe of the library.
#[derive(Debug, Clone, PartialEq)]
pub enum RecipeChange {
    /// The next parts are known.
    Teach(TeachCommand),
    /// A part of a while ago is known.
    Label(LabelCommand),
    /// A picture is taken out.
    Forget(ForgetCommand),
    /// Another revision judges: an earlier one again, or a candidate.
    Rollback(RollbackCommand),
    /// It looks elsewhere, finds its threshold otherwise, or begins.
    Edit(Box<EditCommand>),
    /// Another revision judges beside the line. Changes nothing of the recipe.
    Shadow(ShadowCommand),
    /// Doubtful parts are grouped. Changes nothing of the recipe.
    Suggest(SuggestCommand),
    /// Stored parts are judged again beside the line. Changes nothing of the recipe.
    WhatIf(WhatIfCommand),
}

impl RecipeChange {
    /// Reads the command of that name, with its id; `None` for the name of another command.
    pub(super) fn read(
        name: &str,
        payload: &[u8],
    ) -> Option<Result<(Option<String>, Self), String>> {
        let command = match name {
            "teach" => read(payload).map(RecipeChange::Teach),
            "label" => read(payload).map(RecipeChange::Label),
            "forget" => read(payload).map(RecipeChange::Forget),
            "rollback" => read(payload).map(RecipeChange::Rollback),
            "edit" => read(payload).map(|edit| RecipeChange::Edit(Box::new(edit))),
            "shadow" => read(payload).map(RecipeChange::Shadow),
            "suggest" => read(payload).map(RecipeChange::Suggest),
            "what_if" => read(payload).map(RecipeChange::WhatIf),
            _ => return None,
        };

        Some(command.map(|change| (change.id().clone(), change)))
    }

    fn id(&self) -> &Option<String> {
        match self {
            RecipeChange::Teach(command) => &command.id,
            RecipeChange::Label(command) => &command.id,
            RecipeChange::Forget(command) => &command.id,
            RecipeChange::Rollback(command) => &command.id,
            RecipeChange::Edit(command) => &command.id,
            RecipeChange::Shadow(command) => &command.id,
            RecipeChange::Suggest(command) => &command.id,
            RecipeChange::WhatIf(command) => &command.id,
        }
    }

    /// The command's name.
    pub fn name(&self) -> &'static str {
        match self {
            RecipeChange::Teach(_) => "teach",
            RecipeChange::Label(_) => "label",
            RecipeChange::Forget(_) => "forget",
            RecipeChange::Rollback(_) => "rollback",
            RecipeChange::Edit(_) => "edit",
            RecipeChange::Shadow(_) => "shadow",
            RecipeChange::Suggest(_) => "suggest",
            RecipeChange::WhatIf(_) => "what_if",
        }
    }

    /// The recipe that is named.
    pub fn recipe(&self) -> Option<&str> {
        let recipe = match self {
            RecipeChange::Teach(command) => &command.recipe,
            RecipeChange::Label(command) => &command.recipe,
            RecipeChange::Forget(command) => &command.recipe,
            RecipeChange::Rollback(command) => &command.recipe,
            RecipeChange::Edit(command) => &command.recipe,
            RecipeChange::Shadow(command) => &command.recipe,
            RecipeChange::Suggest(command) => &command.recipe,
            RecipeChange::WhatIf(command) => &command.recipe,
        };

        recipe.as_deref()
    }

    /// True where the revision that the command makes is to be a candidate.
    pub fn makes_candidate(&self) -> bool {
        match self {
            RecipeChange::Teach(command) => command.candidate,
            RecipeChange::Label(command) => command.candidate,
            RecipeChange::Forget(command) => command.candidate,
            RecipeChange::Edit(command) => command.candidate,
            RecipeChange::Rollback(_)
            | RecipeChange::Shadow(_)
            | RecipeChange::Suggest(_)
            | RecipeChange::WhatIf(_) => false,
        }
    }

    /// Checks the values.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(recipe) = self.recipe() {
            fits("recipe", recipe, NAME_MAX)?;
        }

        match self {
            RecipeChange::Teach(command) if command.group.is_some() => match command {
                TeachCommand {
                    parts: 0,
                    camera: None,
                    run_id: Some(_),
                    ..
                } => Ok(()),
                TeachCommand { run_id: None, .. } => Err(
                    "run_id of the group is missing: numbers begin anew with each run".to_owned(),
                ),
                _ => Err("give either group or parts (with its camera), not both".to_owned()),
            },
            RecipeChange::Teach(command) if !(1..=LESSON_MAX).contains(&command.parts) => {
                Err(format!(
                    "parts must be from 1 to {LESSON_MAX}, got {}",
                    command.parts
                ))
            }
            RecipeChange::Forget(command) => check_hash(&command.picture),
            RecipeChange::Shadow(command) => command.check(),
            RecipeChange::Edit(command) => command.check(),
            RecipeChange::Label(command) => check_label(command),
            RecipeChange::WhatIf(command) => command.check(),
            _ => Ok(()),
        }
    }
}

fn check_label(command: &LabelCommand) -> Result<(), String> {
    match &command.note {
        Some(note) => fits("note", note, NOTE_MAX),
        None if command.label.is_none() => {
            Err("as or note is missing: what the part is, or words on it".to_owned())
        }
        None => Ok(()),
    }
}

fn check_hash(picture: &str) -> Result<(), String> {
    let is_hex = picture.chars().all(|c| c.is_ascii_hexdigit());
    if is_hex && HASH_DIGITS.contains(&picture.len()) {
        return Ok(());
    }

    let words = "picture must be 8 to 64 hexadecimal digits, the beginning of the picture's sha256 (winspect recipe show lists them)";
    Err(format!("{words}, got {picture:?}"))
}
