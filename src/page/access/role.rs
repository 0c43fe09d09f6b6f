//! Roles of the page's users, and the rights that each has.
//!
//! ```text
//! view < operator < setter < admin: each may do all that the one before may
//! ```

use crate::protocol::command::Action;
use crate::protocol::teaching::RecipeChange;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What a user is to the line; the least first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks, and changes nothing.
    View,
    /// Runs the line: pauses it, labels parts, confirms faults.
    Operator,
    /// Sets the line up: recipes, thresholds, teaching.
    Setter,
    /// Says who may do what.
    Admin,
}

/// A kind of change, by the least role that may make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Pause, resume, reset, challenge, shift check, label, snapshot, counters, a lens that was cleaned.
    Operate,
    /// Recipes, revisions, thresholds, teaching, masks, the line's file, the support bundle.
    SetUp,
    /// Users and their roles.
    ManageUsers,
}

/// All roles, the least first.
pub const ROLES: [Role; 4] = [Role::View, Role::Operator, Role::Setter, Role::Admin];

impl Role {
    /// True if users of this role may do that.
    pub fn may(self, right: Right) -> bool {
        self >= right.least_role()
    }

    /// Its word in the users' file, on the command line and on screens.
    pub fn word(self) -> &'static str {
        match self {
            Role::View => "view",
            Role::Operator => "operator",
            Role::Setter => "setter",
            Role::Admin => "admin",
        }
    }

    /// The role of that word.
    pub fn of(word: &str) -> Option<Self> {
        let mut roles = ROLES.into_iter();

        roles.find(|role| role.word() == word)
    }
}

impl Right {
    /// The least role that has it.
    pub fn least_role(self) -> Role {
        match self {
            Right::Operate => Role::Operator,
            Right::SetUp => Role::Setter,
            Right::ManageUsers => Role::Admin,
        }
    }

    /// The right that a command needs.
    pub fn of_command(action: &Action) -> Self {
        match action {
            Action::Trigger(_)
            | Action::Challenge(_)
            | Action::ShiftCheck(_)
            | Action::Cleaned { .. }
            | Action::Snapshot { .. }
            | Action::Pause
            | Action::Resume
            | Action::Reset => Right::Operate,
            Action::SelectRecipe { .. }
            | Action::SetThreshold { .. }
            | Action::Reload
            | Action::TakeControl
            | Action::ReleaseControl => Right::SetUp,
            // A word on a part is the operator's, and so is to look at the doubtful ones.
            Action::Change(
                RecipeChange::Label(_) | RecipeChange::Suggest(_) | RecipeChange::WhatIf(_),
            ) => Right::Operate,
            Action::Change(_) => Right::SetUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::command::parse;

    #[test]
    fn each_role_may_what_the_one_before_may() {
        let rights = [Right::Operate, Right::SetUp, Right::ManageUsers];
        let may = ROLES.map(|role| rights.map(|right| role.may(right)));
        assert_eq!(may[0], [false, false, false]);
        assert_eq!(may[1], [true, false, false]);
        assert_eq!(may[2], [true, true, false]);
        assert_eq!(may[3], [true, true, true]);

        for role in ROLES {
            assert_eq!(Role::of(role.word()), Some(role));
        }
    }

    #[test]
    fn an_operator_runs_the_line_and_a_setter_sets_it_up() {
        let right = |name: &str, values: &str| {
            let command = parse(name, values.as_bytes()).expect(name);
            Right::of_command(&command.action)
        };

        let label = r#"{"id":"a","run_id":"r","camera":"top","seq":1,"as":"good"}"#;
        assert_eq!(right("label", label), Right::Operate);
        assert_eq!(right("pause", r#"{"id":"a"}"#), Right::Operate);
        let select = r#"{"id":"a","recipe":"nut"}"#;
        assert_eq!(right("select_recipe", select), Right::SetUp);
        assert_eq!(
            right("rollback", r#"{"id":"a","recipe":"nut"}"#),
            Right::SetUp
        );
    }
}
