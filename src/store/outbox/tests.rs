//! The outbox as its users see it, and against a naive model.

use super::super::bounds::{ASIDE_LONGEST, ASIDE_MAX, LEAVING_MAX};
use super::*;
use proptest::prelude::*;

fn waiting(key: u64, live: bool) -> OutboxEntry {
    let until = live.then(|| Instant::now() + Duration::from_secs(1));
    OutboxEntry {
        key,
        row: crate::data::result::tests::row("top", key).into(),
        until,
        given_up_before: 0,
        marks: None,
        asides: 0,
        at_gate: None,
        taken: TakenMessages::default(),
    }
}

#[test]
fn live_results_go_before_late_ones() {
    let outbox = Outbox::default();
    outbox.queues().in_file = 1;
    outbox.queues().put_late(waiting(1, false));
    outbox.queues().put_live(waiting(2, true));
    assert_eq!(
        [outbox.next().map(|w| w.key), outbox.next().map(|w| w.key)],
        [Some(2), Some(1)]
    );
}

/// The writer hears of an acknowledgement later than the publisher, which may have lost its link by then.
#[test]
fn an_answered_result_is_not_handed_out_again_by_a_lost_link() {
    let outbox = Outbox::default();
    for key in 1..=3 {
        outbox.queues().put_live(waiting(key, true));
        assert_eq!(outbox.next().map(|w| w.key), Some(key));
    }

    outbox.note_answered(2);
    outbox.rewind();
    let again = [outbox.next(), outbox.next(), outbox.next()];
    assert_eq!(again.map(|w| w.map(|w| w.key)), [Some(1), Some(3), None]);
    outbox.accept(2);
    assert_eq!(outbox.count().acked, 1);
    assert_eq!(outbox.count().waiting, 2);
}

#[test]
fn what_is_given_up_or_refused_is_told_with_the_next() {
    let outbox = Outbox::default();
    outbox.queues().gave_up(3);
    outbox.queues().put_live(waiting(4, true));
    let first = outbox.next().expect("put");
    assert_eq!(first.given_up_before, 3);
    outbox.ack(first.key, false);
    outbox.queues().put_live(waiting(5, true));
    assert_eq!(outbox.next().expect("put").given_up_before, 4);
}

#[test]
fn late_results_keep_their_order_when_some_are_in_the_file_and_some_in_memory() {
    let outbox = Outbox::default();
    let over = Instant::now();

    for key in 1..=6 {
        outbox.queues().put_live(OutboxEntry {
            until: Some(over),
            ..waiting(key, true)
        });
    }

    // Its time is over, and it was on its way when the oldest went to the file.
    assert_eq!(outbox.next().map(|w| w.key), Some(1));
    outbox.rewind();
    let spilled = outbox.queues().spill(3);
    assert_eq!(spilled.iter().map(|w| w.key).collect::<Vec<_>>(), [1, 2, 3]);
    outbox.queues().in_file = 3;
    assert!(outbox.next().is_none(), "the file holds older ones");
    spilled
        .into_iter()
        .for_each(|w| outbox.queues().put_late(OutboxEntry { until: None, ..w }));

    outbox.queues().put_live(waiting(7, true));
    let keys: Vec<u64> = std::iter::from_fn(|| outbox.next())
        .map(|w| w.key)
        .collect();

    assert_eq!(keys, [7, 1, 2, 3, 4, 5, 6]);
}

/// A burst of old triggers after a long outage: their time is over as they come.
#[test]
fn a_late_result_waits_for_older_ones_that_are_on_their_way_to_the_file() {
    let outbox = Outbox::default();

    for key in 1..=3 {
        outbox.queues().put_live(waiting(key, true));
    }

    outbox.queues().put_live(OutboxEntry {
        until: Some(Instant::now()),
        ..waiting(4, true)
    });

    let spilled = outbox.queues().spill(3);
    assert_eq!(spilled.len(), 3);
    outbox.queues().spilling = 3;
    assert!(outbox.next().is_none(), "they are not in the file yet");
    outbox.queues().spilling = 0;
    outbox.queues().in_file = 3;
    assert!(outbox.next().is_none(), "they are not read yet");

    for entry in spilled {
        let late = OutboxEntry {
            until: None,
            ..entry
        };

        outbox.queues().put_late(late);
    }

    let keys: Vec<u64> = std::iter::from_fn(|| outbox.next())
        .map(|entry| entry.key)
        .collect();

    assert_eq!(keys, [1, 2, 3, 4]);
}

#[test]
fn what_went_to_the_file_goes_before_a_page_that_was_read_already_and_giving_up_forgets_none() {
    let outbox = Outbox::default();
    outbox.queues().put_live(OutboxEntry {
        until: Some(Instant::now()),
        ..waiting(1, true)
    });

    // Another camera's: a page full.
    outbox.queues().in_file = PAGE_ROWS as u64;
    (2..)
        .take(PAGE_ROWS)
        .for_each(|key| outbox.queues().put_late(waiting(key, false)));

    assert_eq!(outbox.next().map(|w| w.key), Some(1));
    outbox.rewind();
    assert_eq!(outbox.queues().spill(1)[0].key, 1);
    outbox.queues().in_file = 1;
    assert_eq!(outbox.queues().wanted_page(), Some(0));
    assert!(outbox.next().is_none());
    outbox.queues().put_late(waiting(1, false));
    outbox.queues().in_file = 0;
    assert_eq!(outbox.next().map(|w| w.key), Some(1));
    assert_eq!(outbox.queues().forget_late(), [1]);
    let queues = outbox.queues();
    assert_eq!(
        (queues.read_to, queues.in_file, queues.waiting()),
        (1, 512, 513)
    );
}

#[test]
fn what_is_put_aside_waits_apart_and_joins_the_others_where_it_was_not_at_fault() {
    let outbox = Outbox::default();

    for key in 1..=3 {
        outbox.queues().put_live(waiting(key, true));
    }

    let first = outbox.next().expect("put").key;
    assert!(outbox.put_aside(first, false));
    assert_eq!(outbox.next().map(|w| w.key), Some(2));
    assert!(outbox.put_aside(2, true));
    outbox.rewind();
    outbox.take_back();
    let keys: Vec<u64> = std::iter::from_fn(|| outbox.next())
        .map(|w| w.key)
        .collect();

    assert_eq!(keys, [1, 3], "the second is alone at fault");
    let next = outbox.next_aside(LinkLoad::Quiet);
    assert!(next.is_none(), "its time has not come");
    let count = outbox.count();
    assert_eq!((count.waiting, count.aside), (3, 1));
    let due = |ago| {
        outbox.queues().aside.get_mut(&2).expect("aside").again = Instant::now().checked_sub(ago)
    };

    due(Duration::from_secs(9));
    let next = outbox.next_aside(LinkLoad::Busy);
    assert!(
        next.is_none(),
        "it waits for a quiet link, and not for ever"
    );

    due(Duration::from_secs(10));
    let again = outbox.next_aside(LinkLoad::Busy).expect("it is due");
    assert!(outbox.was_aside(2) && !outbox.was_aside(1));
    outbox.give_back(2);
    due(Duration::ZERO);
    outbox.next_aside(LinkLoad::Quiet).expect("it is due");
    assert_eq!((again.key, again.asides), (2, 1));

    // A lost link brings it back to where it was, and not before the others.
    outbox.rewind();
    assert_eq!(outbox.count().aside, 1);
}

#[test]
fn a_result_aside_is_tried_later_each_time_and_there_is_room_for_so_many() {
    let waits = [1, 2, 3, 40].map(|asides| aside_for(asides).as_secs());
    assert_eq!(waits, [30, 60, 120, 3600]);
    let outbox = Outbox::default();
    let most = (ASIDE_MAX + LEAVING_MAX) as u64;

    for key in 1..=most + 1 {
        outbox.queues().put_live(waiting(key, true));
        outbox.next();
        assert_eq!(outbox.put_aside(key, true), key <= most);
    }
}

#[test]
fn a_result_that_may_be_aside_for_no_fault_of_its_own_does_not_go_to_the_file() {
    let outbox = Outbox::default();

    for key in 1..=ASIDE_MAX as u64 + 1 {
        outbox.queues().put_live(waiting(key, true));
        outbox.next();
        assert_eq!(outbox.put_aside(key, false), key <= ASIDE_MAX as u64);
    }

    assert!(outbox.queues().take_leaving().is_empty());
}

#[test]
fn what_is_put_aside_beyond_the_room_rests_in_the_file_and_comes_again_once() {
    let outbox = Outbox::default();
    let beyond = 10;

    for key in 1..=ASIDE_MAX as u64 + beyond {
        outbox.queues().put_live(waiting(key, true));
        outbox.next();
        assert!(outbox.put_aside(key, true));
    }

    let mut queues = outbox.queues();
    let leaving = queues.take_leaving();
    assert_eq!(leaving.len() as u64, beyond);

    // The file is read beyond some of them, and not so far for the others.
    queues.read_to = leaving[3].key;
    queues.in_file = 1;

    for entry in &leaving {
        queues.rest(entry.key);
    }

    queues.in_file -= 1;
    assert_eq!((queues.resting.count, queues.in_file), (4, 6));
    assert_eq!(queues.waiting(), ASIDE_MAX as u64 + beyond);

    for entry in &leaving[4..] {
        queues.put_late(waiting(entry.key, false));
    }

    assert_eq!((queues.in_file, queues.wanted_page()), (0, None));
    queues.look_at_rest(Instant::now());
    assert_eq!(queues.wanted_page(), None, "their time has not come");
    queues.look_at_rest(Instant::now() + ASIDE_LONGEST);
    assert_eq!(queues.wanted_page(), Some(leaving[0].key - 1));

    for entry in &leaving {
        queues.put_late(waiting(entry.key, false));
    }

    assert_eq!((queues.in_file, queues.late.len()), (0, 10));
    assert_eq!(queues.waiting(), ASIDE_MAX as u64 + beyond);
}

proptest! {
    /// Against the naive model: a list of unanswered numbers and a cursor.
    #[test]
    fn the_outbox_is_a_list_with_a_cursor(steps in proptest::collection::vec(0u8..5, 0..80)) {
        let outbox = Outbox::default();
        let (mut model, mut cursor, mut key) = (Vec::<u64>::new(), 0usize, 0u64);
        let mut out: Vec<u64> = vec![];

        for step in steps {
            match step {
                0 | 1 => {
                    key += 1;
                    outbox.queues().put_live(waiting(key, true));
                    model.push(key);
                }

                2 => {
                    let next = outbox.next().map(|w| w.key);
                    prop_assert_eq!(next, model.get(cursor).copied());
                    cursor = (cursor + 1).min(model.len());
                    out.extend(next);
                }

                3 => if let Some(key) = out.pop() {
                    outbox.ack(key, true);

                    if let Some(at) = model[..cursor].iter().position(|k| *k == key) {
                        model.remove(at);
                        cursor -= 1;
                    }
                },
                _ => { outbox.rewind(); cursor = 0; out.clear(); }
            }

            prop_assert_eq!(outbox.count().waiting as usize, model.len());
        }
    }
}

#[test]
fn what_the_broker_has_of_a_result_is_known_when_it_is_handed_out_again() {
    let outbox = Outbox::default();
    outbox.queues().put_live(waiting(1, true));
    outbox.queues().put_live(waiting(2, true));

    for key in [1, 2] {
        assert_eq!(outbox.next().map(|entry| entry.key), Some(key));
    }

    outbox.note_taken(2, |taken| taken.plc = true);
    outbox.note_taken(7, |taken| taken.plc = true); // never handed out
    outbox.rewind();
    let taken = [outbox.next(), outbox.next()].map(|entry| entry.expect("rewound").taken);
    let of_plc = TakenMessages {
        plc: true,
        result: false,
    };

    assert_eq!(taken, [TakenMessages::default(), of_plc]);
    assert!(outbox.put_aside(2, true));
    let again = outbox.next_aside(LinkLoad::Ending).expect("aside");
    assert_eq!((again.key, again.taken), (2, of_plc));
}
