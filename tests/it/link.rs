//! The way between the line and its broker when it is bad: far away, or cut for good.

use crate::broker::{Broker, Listener, free_port};
use crate::line::{ask_to_stop, start, summary, write_line};
use crate::support::imported;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Every packet to `port` takes this long, in each direction.
fn far_away(port: u16, delay: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let way = listener.local_addr().expect("bound").port();
    let carry = move |mut from: TcpStream, mut to: TcpStream| {
        std::thread::spawn(move || {
            let mut packet = vec![0; 1 << 16];
            while let Ok(count @ 1..) = from.read(&mut packet) {
                std::thread::sleep(delay);
                if to.write_all(&packet[..count]).is_err() {
                    return;
                }
            }
            let _ = to.shutdown(std::net::Shutdown::Both); // it may be gone
        });
    };
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { return };
            let clone = |stream: &TcpStream| stream.try_clone().expect("a handle");
            carry(clone(&near), clone(&far));
            carry(far, near);
        }
    });
    way
}

#[test]
fn a_broker_that_is_far_away_is_reached() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let listener = Listener::start(broker.port, "plant/box/result");
    let way = far_away(broker.port, Duration::from_millis(400));
    write_line(folder.path(), way, "kind = \"test\"\nfps = 20\nwidth = 322\nheight = 241");
    let line = start(folder.path());
    listener.wait_for("result", 5);
    ask_to_stop(&line);
    summary(&line.wait_with_output().expect("ends"));
}

#[test]
fn a_line_without_its_broker_stops_in_time_and_in_order() {
    let (folder, _model) = imported("dinov2-tiny");
    write_line(folder.path(), free_port(), "kind = \"test\"\nfps = 20\nwidth = 322\nheight = 241");
    let line = start(folder.path());
    // By now it waits almost as long as it ever does before it tries again.
    std::thread::sleep(Duration::from_secs(14));
    ask_to_stop(&line);
    let asked = Instant::now();
    let summary = summary(&line.wait_with_output().expect("ends"));
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    assert_eq!(summary["undelivered"], summary["results"]);
}

#[test]
fn two_lines_of_one_name_do_not_throw_each_other_out_at_every_moment() {
    let broker = Broker::start(free_port());
    let listener = Listener::start(broker.port, "plant/box/birth");
    let models = [imported("dinov2-tiny"), imported("dinov2-tiny")];
    let lines = models.each_ref().map(|(folder, _model)| {
        write_line(folder.path(), broker.port, "kind = \"test\"\nfps = 5\nwidth = 322\nheight = 241");
        start(folder.path())
    });
    listener.wait_for("birth", 2);
    let both = Instant::now();
    listener.wait_for("birth", 10);
    assert!(both.elapsed() > Duration::from_secs(4), "{:?}", both.elapsed());
    lines.iter().for_each(ask_to_stop);
    for line in lines {
        summary(&line.wait_with_output().expect("ends"));
    }
}
