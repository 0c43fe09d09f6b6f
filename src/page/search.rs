//! The history of a line, as the page asks for it: the store's disk answers when it has a moment.
//!
//! Bounds: [`PATIENCE`] for one step, [`LOOK_TIME`] for all steps of a screen.

use crate::data::history::{HistoryPage, HistoryPart, HistoryQuery};
use crate::store::{ASK_AGAIN, Search, SearchPage, Store};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

/// Time for one step.
const PATIENCE: Duration = Duration::from_secs(3);
/// Time in which a store that cannot look is asked again, and for all steps of a screen: what is found by then is shown, with a way on.
const LOOK_TIME: Duration = Duration::from_secs(2);
/// Time until a store that has no room is asked again.
const RETRY: Duration = Duration::from_millis(20);

/// One step of a search. A store that cannot look at the moment is asked again.
///
/// # Errors
/// Words, when it cannot look for longer, or does not answer.
pub async fn step(store: &Store, search: Search) -> Result<SearchPage, String> {
    let end = Instant::now() + LOOK_TIME;

    loop {
        match ask(store, search.clone()).await {
            Err(words) if words.ends_with(ASK_AGAIN) && Instant::now() < end => {
                sleep(RETRY).await;
            }

            answer => return answer,
        }
    }
}

async fn ask(store: &Store, search: Search) -> Result<SearchPage, String> {
    let (reply, answer) = oneshot::channel();

    // The asker may have gone.
    let reply = Box::new(move |page| drop(reply.send(page)));

    store.search(search, reply);
    match timeout(PATIENCE, answer).await {
        Ok(Ok(page)) => page,
        Ok(Err(_)) => Err("the line is stopping".to_owned()),
        Err(_) => Err("the store does not answer; look again in a moment".to_owned()),
    }
}

/// Steps until `wanted` parts are found, nothing is left, or the time is over.
///
/// # Errors
/// As [`step`].
pub async fn parts(
    store: &Store,
    mut query: HistoryQuery,
    wanted: usize,
) -> Result<HistoryPage, String> {
    let end = Instant::now() + LOOK_TIME;
    let mut all = HistoryPage::default();

    loop {
        query.limit = Some((wanted - all.parts.len()) as u32);

        let page = match step(store, Search::Parts(query.clone())).await {
            Ok(SearchPage::Parts(page)) => page,
            Ok(_) => return Err("the store answers another question".to_owned()),
            Err(words) => return Err(words),
        };

        all.parts.extend(page.parts);
        all.groups.extend(page.groups);
        all.unreadable += page.unreadable;
        all.lacks_old_parts = page.lacks_old_parts;
        all.next = page.next;
        query.before = page.next;

        let is_over = Instant::now() >= end;
        if all.next.is_none() || all.parts.len() >= wanted || is_over {
            return Ok(all);
        }
    }
}

/// One part with all that the store has of it; `None` where it has no result.
///
/// # Errors
/// As [`step`].
pub async fn part(
    store: &Store,
    run_id: &str,
    camera: &str,
    seq: u64,
) -> Result<Option<HistoryPart>, String> {
    let named = Search::Part {
        run_id: run_id.to_owned(),
        camera: camera.to_owned(),
        seq,
    };

    let SearchPage::Part(Some((key, _))) = step(store, named).await? else {
        return Ok(None);
    };

    // The newest row below the next key is the part.
    let query = HistoryQuery {
        before: Some(key + 1),
        limit: Some(1),
        ..HistoryQuery::default()
    };

    match step(store, Search::Parts(query)).await? {
        SearchPage::Parts(page) => {
            // One that cannot be read is passed over by the search, which then finds another part.
            let is_it = |part: &HistoryPart| {
                let row = &part.row;
                row.run_id == run_id && row.camera == camera && row.seq == seq
            };

            Ok(page.parts.into_iter().find(is_it))
        }

        _ => Ok(None),
    }
}
