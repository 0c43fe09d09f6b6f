//! What a broker refuses, and what ends its connections, without a broker.

use super::*;
use crate::data::result::tests::row;
use crate::mqtt::session::Unacknowledged;
use crate::store::{LinkLoad, Outbox, OutboxEntry, TakenMessages};
use rumqttc::v5::{AsyncClient, MqttOptions};

/// A delivery of so many results, which are all handed out by hand.
fn delivery(count: u64) -> (Delivery, Arc<Outbox>, Diagnostics) {
    let outbox = Arc::<Outbox>::default();

    for key in 1..=count {
        outbox.put(OutboxEntry {
            key,
            row: row("top", key).into(),
            until: Some(Instant::now() + Duration::from_secs(60)),
            given_up_before: 0,
            marks: None,
            asides: 0,
            at_gate: None,
            taken: TakenMessages::default(),
        });
    }

    let causes = Diagnostics::default();
    let delivery = Delivery::new(outbox.clone(), causes.clone(), "plant/box".to_owned());

    (delivery, outbox, causes)
}

fn session() -> Session {
    let options = MqttOptions::new("a", "127.0.0.1", 1);
    let (client, events) = AsyncClient::new(options, 100);
    std::mem::forget(events); // the client has room as long as they are there
    let mut session = Session::new(1, client);
    session.connected_at = Some(Instant::now());

    session
}

fn on_its_way(target: AckTarget) -> Unacknowledged {
    Unacknowledged {
        target,
        bytes: 883,
        sent: Instant::now(),
    }
}

fn next(outbox: &Outbox) -> u64 {
    outbox.next().expect("one waits").key
}

/// The broker takes the first result.
fn accept_first(delivery: &mut Delivery, outbox: &Outbox) {
    assert_eq!(next(outbox), 1);
    delivery.on_result_accepted(1, Instant::now());
    outbox.accept(1);
}

#[test]
fn a_broker_that_refuses_for_a_while_gets_every_result_in_order() {
    for reason in [
        PubAckReason::QuotaExceeded,
        PubAckReason::ImplementationSpecificError,
        PubAckReason::NotAuthorized,
        PubAckReason::UnspecifiedError,
    ] {
        let (mut delivery, outbox, causes) = delivery(20);
        let session = session();

        for _ in 0..9 {
            delivery.on_result_refused(next(&outbox), Instant::now(), reason);
            assert_eq!(delivery.window(&session), 0, "a pause");
            delivery.paused_until = None;
            assert_eq!(delivery.window(&session), 1, "a try");
        }

        assert_eq!(outbox.count().waiting, 20);
        assert!(causes.all().1[0].contains("the broker refuses them"));
        let taken = next(&outbox);
        assert_eq!(taken, 7, "four tries of the first, one of each other");
        delivery.on_result_accepted(taken, Instant::now());
        assert!(causes.all().1.is_empty());
        assert_eq!(delivery.window(&session), IN_FLIGHT);
        let left: Vec<u64> = std::iter::from_fn(|| outbox.next())
            .map(|w| w.key)
            .collect();
        let all = (1..=20).filter(|key| *key != taken);
        assert!(left.iter().copied().eq(all), "{left:?}");
    }
}

#[test]
fn a_broker_that_refuses_for_some_seconds_gets_the_first_result_first() {
    let (mut delivery, outbox, _causes) = delivery(3);

    for _ in 0..3 {
        assert_eq!(next(&outbox), 1);
        delivery.on_result_refused(1, Instant::now(), PubAckReason::QuotaExceeded);
        delivery.paused_until = None;
    }

    assert_eq!(next(&outbox), 1);
    delivery.on_result_accepted(1, Instant::now());
    assert_eq!((next(&outbox), next(&outbox)), (2, 3));
}

#[test]
fn one_result_that_is_refused_alone_stands_aside_and_the_others_flow() {
    let (mut delivery, outbox, causes) = delivery(5);
    let reason = PubAckReason::PayloadFormatInvalid;
    let mut session = session();
    let mut taken = vec![];

    for _ in 0..12 {
        delivery.paused_until = None;

        match outbox.next().map(|entry| entry.key) {
            Some(1) => delivery.on_result_refused(1, Instant::now(), reason),
            Some(key) => {
                taken.push(key);
                delivery.on_result_accepted(key, Instant::now());
            }

            None => break,
        }
    }

    assert_eq!(taken, [2, 3, 4, 5]);
    assert_eq!(outbox.count().aside, 1);
    delivery.look(&mut session);
    assert!(
        causes.all().1[0].contains("put aside"),
        "{:?}",
        causes.all()
    );
}

#[test]
fn results_that_are_refused_together_come_again_in_their_order() {
    let (mut delivery, outbox, _causes) = delivery(20);
    let session = session();
    let keys = std::iter::repeat_with(|| next(&outbox));
    let sent: Vec<u64> = keys.take(12).collect();
    delivery.on_result_accepted(1, Instant::now());
    outbox.accept(1);

    for key in &sent[1..] {
        delivery.on_result_refused(*key, Instant::now(), PubAckReason::QuotaExceeded);
    }

    assert_eq!(delivery.window(&session), 0, "a pause");
    delivery.paused_until = None;
    assert_eq!(next(&outbox), 2);
    delivery.on_result_accepted(2, Instant::now());
    let left: Vec<u64> = std::iter::from_fn(|| outbox.next())
        .map(|entry| entry.key)
        .collect();

    assert!(left.iter().copied().eq(3..=20), "{left:?}");
}

#[test]
fn an_acknowledgement_of_an_earlier_result_says_nothing_of_a_refused_one() {
    let (mut delivery, outbox, _causes) = delivery(4);
    let session = session();
    let sent: Vec<Instant> = (0..2).map(|_| Instant::now()).collect();
    assert_eq!((next(&outbox), next(&outbox)), (1, 2));

    // The refusal of the second one overtakes the acknowledgement of the first.
    delivery.on_result_refused(2, sent[1], PubAckReason::QuotaExceeded);
    delivery.on_result_accepted(1, sent[0]);
    outbox.accept(1);
    delivery.paused_until = None;
    assert_eq!(next(&outbox), 2, "it is tried again, and first");
    delivery.on_result_refused(2, Instant::now(), PubAckReason::QuotaExceeded);
    assert_eq!(
        delivery.window(&session),
        0,
        "a pause, and not this one alone"
    );

    assert!(delivery.alone.is_none());
}

#[test]
fn a_refusal_that_may_pass_keeps_the_order() {
    let (mut delivery, outbox, _causes) = delivery(3);
    let session = session();
    accept_first(&mut delivery, &outbox);
    assert_eq!(next(&outbox), 2);
    delivery.on_result_refused(2, Instant::now(), PubAckReason::QuotaExceeded);
    assert_eq!(delivery.window(&session), 0, "nothing overtakes it");
    delivery.paused_until = None;
    assert_eq!(next(&outbox), 2);
}

/// On a line with few parts nothing else is there to be accepted.
#[test]
fn a_result_that_is_refused_for_what_it_says_holds_no_later_one_up() {
    let (mut delivery, outbox, _causes) = delivery(3);
    let session = session();
    accept_first(&mut delivery, &outbox);
    assert_eq!(next(&outbox), 2);
    delivery.on_result_refused(2, Instant::now(), PubAckReason::PayloadFormatInvalid);
    outbox
        .next_aside(LinkLoad::Quiet)
        .expect("the line is idle");
    delivery.on_result_refused(2, Instant::now(), PubAckReason::PayloadFormatInvalid);
    assert_eq!(delivery.window(&session), IN_FLIGHT, "no pause");
    assert!(outbox.next_aside(LinkLoad::Quiet).is_none(), "it waits");
    assert_eq!(next(&outbox), 3);
}

/// Each second one is refused for what it says, whatever else happens.
#[test]
fn any_number_of_results_that_are_refused_alone_hold_no_other_up() {
    let count = 600;
    let (mut delivery, outbox, causes) = delivery(count);
    let mut session = session();
    let mut taken = vec![];

    while let Some(entry) = outbox.next() {
        assert_eq!(delivery.window(&session), IN_FLIGHT, "never a pause");

        if entry.key.is_multiple_of(2) {
            delivery.on_result_refused(
                entry.key,
                Instant::now(),
                PubAckReason::PayloadFormatInvalid,
            );
        } else {
            taken.push(entry.key);
            outbox.accept(entry.key);
            delivery.on_result_accepted(entry.key, Instant::now());
        }
    }

    // The last one waits for another that would be accepted.
    assert!(taken.iter().copied().eq((1..count).step_by(2)));
    assert_eq!(outbox.count().aside, count / 2);
    assert_eq!(outbox.count().waiting, count / 2);
    delivery.look(&mut session);
    let told = causes.all().1.concat();
    let words = "300 results that the broker refuses alone (PayloadFormatInvalid)";
    assert!(told.contains(words), "{told}");
}

/// A connection on which so many results are on their way.
fn connection(delivery: &mut Delivery, outbox: &Outbox, results: u16) -> (Session, Vec<u64>) {
    let mut session = session();
    delivery.begin(&mut session);
    let mut keys = vec![];

    for packet in 1..=results {
        let key = next(outbox);
        session
            .in_flight
            .insert(packet, on_its_way(AckTarget::Result(key)));
        keys.push(key);
    }

    (session, keys)
}

fn cut(delivery: &mut Delivery, outbox: &Outbox, session: &Session) {
    delivery.on_cut(session, "without a word");
    outbox.rewind();
}

fn accept(delivery: &mut Delivery, outbox: &Outbox, session: &mut Session, key: u64) {
    session
        .in_flight
        .retain(|_, message| message.target != AckTarget::Result(key));

    delivery.on_message(&AckTarget::Result(key), PubAckReason::Success);
    delivery.on_result_accepted(key, Instant::now());
    outbox.accept(key);
}

#[test]
fn a_result_that_ends_its_connections_stands_aside_and_the_others_flow_at_once() {
    let (mut delivery, outbox, _causes) = delivery(3);

    // Three are on their way, and twice it may be any of them.
    for _ in 0..2 {
        let (session, _) = connection(&mut delivery, &outbox, 3);
        assert_eq!(delivery.window(&session), IN_FLIGHT);
        cut(&mut delivery, &outbox, &session);
        assert_eq!(outbox.count().aside, 0);
    }

    let (session, keys) = connection(&mut delivery, &outbox, 1);
    assert_eq!(delivery.window(&session), 1, "each goes alone");
    assert_eq!(keys, [1]);
    cut(&mut delivery, &outbox, &session);
    assert_eq!((outbox.count().aside, outbox.count().waiting), (1, 3));
    let (mut session, keys) = connection(&mut delivery, &outbox, 2);
    assert_eq!(delivery.window(&session), IN_FLIGHT, "the others are free");
    assert_eq!(keys, [2, 3]);
    accept(&mut delivery, &outbox, &mut session, 2);

    // The third ends them too: it is known from before, and found with the next.
    cut(&mut delivery, &outbox, &session);
    let (session, keys) = connection(&mut delivery, &outbox, 1);
    assert_eq!((delivery.window(&session), keys), (1, vec![3]));
    cut(&mut delivery, &outbox, &session);
    assert_eq!((outbox.count().aside, outbox.count().waiting), (2, 2));
    let (session, _) = connection(&mut delivery, &outbox, 0);
    assert_eq!(delivery.window(&session), IN_FLIGHT);
}

#[test]
fn a_result_that_was_aside_ends_a_connection_by_itself_and_no_other_is_suspected() {
    let (mut delivery, outbox, _causes) = delivery(6);
    let waits = |outbox: &Outbox| (outbox.count().aside, outbox.count().waiting);
    next(&outbox);
    outbox.put_aside(1, true);

    for _ in 0..3 {
        let (mut session, keys) = connection(&mut delivery, &outbox, 5);
        assert_eq!(delivery.window(&session), IN_FLIGHT);
        assert_eq!(keys, [2, 3, 4, 5, 6]);
        let entry = outbox.next_aside(LinkLoad::Ending).expect("it is aside");
        session.trial = Some(entry.key);
        let result = AckTarget::Result(entry.key);
        session.in_flight.insert(9, on_its_way(result));
        cut(&mut delivery, &outbox, &session);
        assert_eq!(waits(&outbox), (1, 6));
    }

    // Refused instead, it waits longer, and nothing is paused for it.
    let (session, _) = connection(&mut delivery, &outbox, 0);
    outbox.next_aside(LinkLoad::Ending).expect("it is aside");
    delivery.on_result_refused(1, Instant::now(), PubAckReason::PayloadFormatInvalid);
    assert_eq!(delivery.window(&session), IN_FLIGHT);
    assert_eq!(waits(&outbox), (1, 6));
}

#[test]
fn a_result_that_is_alone_on_two_connections_that_end_stands_aside() {
    let (mut delivery, outbox, _causes) = delivery(1);

    for _ in 0..2 {
        assert_eq!(outbox.count().aside, 0);
        let (session, _) = connection(&mut delivery, &outbox, 1);
        cut(&mut delivery, &outbox, &session);
    }

    assert_eq!(outbox.count().aside, 1);
}

#[test]
fn cuts_of_a_link_leave_the_window_whole_as_long_as_results_get_through() {
    let (mut delivery, outbox, _causes) = delivery(60);
    let mut session = connection(&mut delivery, &outbox, 10).0;

    for packet in 1..=5 {
        let fence = AckTarget::Topic("plant/box/fence".to_owned());
        session.in_flight.insert(100 + packet, on_its_way(fence));
        cut(&mut delivery, &outbox, &session);
        let (again, keys) = connection(&mut delivery, &outbox, 10);
        assert_eq!(delivery.window(&again), IN_FLIGHT);
        session = again;

        // Those come again and get through; the ones behind them are on their way at the next cut.
        for key in keys {
            accept(&mut delivery, &outbox, &mut session, key);
        }

        for packet in 1..=5 {
            let key = next(&outbox);
            session
                .in_flight
                .insert(packet, on_its_way(AckTarget::Result(key)));
        }
    }

    // A connection that lasts clears the others too.
    cut(&mut delivery, &outbox, &session);
    let (mut session, _) = connection(&mut delivery, &outbox, 5);
    session.connected_at = Instant::now().checked_sub(CLEARED * 2);
    delivery.look(&mut session);
    cut(&mut delivery, &outbox, &session);
    let (session, _) = connection(&mut delivery, &outbox, 5);
    assert_eq!(delivery.window(&session), IN_FLIGHT);
    assert_eq!(outbox.count().aside, 0);
}

#[test]
fn a_message_that_ends_two_connections_is_left_out_and_told() {
    let (mut delivery, _outbox, causes) = delivery(0);
    let birth = AckTarget::Topic("plant/box/birth".to_owned());

    for _ in 0..2 {
        let mut session = session();
        delivery.begin(&mut session);
        session.in_flight.insert(1, on_its_way(birth.clone()));
        delivery.on_cut(&session, "without a word");
    }

    let mut session = session();
    delivery.begin(&mut session);
    assert_eq!(session.muted, [birth]);
    delivery.look(&mut session);
    assert!(causes.all().1[0].contains("plant/box/birth ended connections"));
}

#[test]
fn a_refused_message_is_told_by_health_until_it_is_taken() {
    let (mut delivery, _outbox, causes) = delivery(0);
    let birth = AckTarget::Topic("plant/box/birth".to_owned());
    delivery.on_message(&birth, PubAckReason::NotAuthorized);
    assert_eq!(
        causes.all().1,
        ["messages: the broker refuses plant/box/birth (NotAuthorized)"]
    );

    assert!(!delivery.tells_again(), "not at once");
    delivery.again_at = Some(Instant::now());
    assert!(delivery.tells_again());
    delivery.on_message(&birth, PubAckReason::Success);
    assert!(causes.all().1.is_empty());
    assert!(!delivery.tells_again());
}

#[test]
fn a_message_that_is_refused_just_before_a_cut_is_suspected_and_not_the_next_one() {
    let (mut delivery, outbox, _causes) = delivery(1);
    let birth = AckTarget::Topic("plant/box/birth".to_owned());

    for _ in 0..2 {
        let (mut session, _keys) = connection(&mut delivery, &outbox, 1);
        delivery.on_message(&birth, PubAckReason::NotAuthorized);
        session.refused_last = Some((Instant::now(), on_its_way(birth.clone())));
        cut(&mut delivery, &outbox, &session);
    }

    assert_eq!(outbox.count().aside, 0);
    let mut session = session();
    delivery.begin(&mut session);
    assert_eq!(session.muted, [birth]);
}

#[test]
fn a_cut_with_a_response_on_its_way_suspects_nothing_else() {
    let (mut delivery, outbox, causes) = delivery(3);
    let response = AckTarget::Response("elsewhere".to_owned());

    for _ in 0..4 {
        let (mut session, _keys) = connection(&mut delivery, &outbox, 1);
        session.in_flight.insert(100, on_its_way(response.clone()));
        delivery.on_message(&response, PubAckReason::NotAuthorized);
        cut(&mut delivery, &outbox, &session);
    }

    let mut session = session();
    delivery.begin(&mut session);
    assert!(!session.is_careful && session.muted.is_empty());
    assert_eq!(outbox.count().aside, 0);
    assert!(causes.all().1.is_empty(), "{:?}", causes.all());
}

#[test]
fn only_a_rule_is_mended_by_a_rule() {
    let words = way_out(PubAckReason::NotAuthorized, "plant/box");
    assert!(words.contains("access rules for plant/box/#"), "{words}");

    for reason in [
        PubAckReason::QuotaExceeded,
        PubAckReason::ImplementationSpecificError,
        PubAckReason::TopicNameInvalid,
    ] {
        let words = way_out(reason, "plant/box");
        assert!(!words.contains("access rules"), "{words}");
    }
}

#[test]
fn outcomes_and_rejects_that_end_two_connections_are_left_out_told_and_tried_again() {
    let outcome: fn(u64) -> AckTarget = AckTarget::Outcome;
    let reject: fn(u64) -> AckTarget = AckTarget::Reject;

    for (on_their_way, kind, name) in [
        ([3, 3], outcome, "the second answer to a command"),
        ([4, 7], reject, "plant/box/reject"),
    ] {
        let (mut delivery, _outbox, causes) = delivery(0);

        for number in on_their_way {
            let mut session = session();
            delivery.begin(&mut session);
            session.in_flight.insert(1, on_its_way(kind(number)));
            delivery.on_cut(&session, "without a word");
        }

        let mut session = session();
        delivery.begin(&mut session);
        assert_eq!(session.muted, [kind(on_their_way[0]).kind()]);
        delivery.look(&mut session);
        let told = causes.all().1.concat();
        assert!(
            told.contains(&format!("{name} ended connections")),
            "{told}"
        );

        assert!(!delivery.tells_again());
        for until in delivery.muted.values_mut() {
            *until = Instant::now();
        }

        delivery.look(&mut session);
        assert!(session.muted.is_empty() && causes.all().1.is_empty());
        assert!(delivery.tells_again(), "once");
        assert!(!delivery.tells_again());
    }
}
