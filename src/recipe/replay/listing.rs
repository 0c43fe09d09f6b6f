//! The stored parts that are judged again, by what is asked for.

use super::NotJudged;
use crate::data::verdict::Verdict;
use crate::evidence::kept::{self, KeptPart};
use crate::evidence::name;
use jiff::Timestamp;
use std::io;
use std::path::Path;

/// The stored parts that are asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeptQuery {
    /// Captured then or later.
    pub since: Option<Timestamp>,
    /// Parts of that camera, or of the name that several share.
    pub camera: Option<String>,
    /// Parts of that verdict.
    pub verdict: Option<Verdict>,
    /// At most so many, the newest; `None` for all.
    pub limit: Option<usize>,
}

/// A stored part that fits.
#[derive(Debug)]
pub struct ListedPart {
    /// Stem of the names of its files.
    pub stem: String,
    /// `name@revision` of the recipe that judged it; or why its facts cannot be read.
    pub recipe: Result<String, NotJudged>,
}

/// Lists the stored parts that fit, the oldest first. A part whose facts cannot be read is among them.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(folder: &Path, query: &KeptQuery) -> io::Result<Vec<ListedPart>> {
    let since = query.since.map(name::time);
    let mut listed = vec![];

    // Names sort by time: the newest come first until there are enough.
    for stem in kept::stems(folder)?.into_iter().rev() {
        if query.limit.is_some_and(|limit| listed.len() >= limit) {
            break;
        }

        // The name alone leaves out most parts unread.
        let fits = name::of_stem(&stem).is_some_and(|named| {
            let is_new = since
                .as_ref()
                .is_none_or(|since| named.time >= since.as_str());
            is_new && query.verdict.is_none_or(|verdict| named.verdict == verdict)
        });

        if !fits {
            continue;
        }

        match kept::read(folder, &stem) {
            Ok(part) if !is_of_camera(&part, query.camera.as_deref()) => {}
            Ok(part) => listed.push(ListedPart {
                stem,
                recipe: Ok(part.facts.recipe),
            }),
            Err(error) => listed.push(ListedPart {
                stem,
                recipe: Err(NotJudged::of(error)),
            }),
        }
    }

    listed.reverse();
    Ok(listed)
}

fn is_of_camera(part: &KeptPart, camera: Option<&str>) -> bool {
    let facts = &part.facts;

    camera.is_none_or(|camera| facts.camera == camera || facts.seen_by == camera)
}
