//! A setter brings a new part to a line by the screen Teach, in a real browser. With `WINSPECT_SCREENS` the screen is
//! written there as a picture, in two sizes.

use crate::harness::axe::assert_usable;
use crate::harness::broker::free_port;
use crate::harness::browser::Browser;
use crate::harness::page::Page;
use crate::harness::sign_in::{PASSWORD, Session, add_user};
use crate::harness::station::Station;
use crate::harness::{PATIENCE, json, require, wait_until};
use std::fs;
use std::path::Path;

/// Kinds of pictures that the camera can show.
#[derive(Clone, Copy, PartialEq)]
enum Shown {
    Good,
    Odd,
    Bad,
}

/// A landscape and a portrait tablet.
const SIZES: [(u32, u32); 2] = [(1280, 800), (800, 1280)];

/// A picture of a drawn part: a light square on grey, a little different for each number. The odd one is inverted; the bad one
/// has a dark corner.
fn drawn(number: u32, shown: Shown) -> image::RgbImage {
    image::RgbImage::from_fn(160, 120, |x, y| {
        let is_part = (50..110).contains(&x) && (30..90).contains(&y);
        let is_dark = shown == Shown::Bad && (80..110).contains(&x) && (30..60).contains(&y);
        let is_light = (is_part && !is_dark) != (shown == Shown::Odd);
        let level = if is_light { 190 } else { 90 };
        let noise = (x * 31 + y * 17 + number * 101).wrapping_mul(2_654_435_761) >> 28;
        image::Rgb([level + noise as u8; 3])
    })
}

/// Pictures that the camera shows in turns.
const SLOTS: usize = 9;

/// Lets the camera show these pictures in turns, and none of those before.
fn show(folder: &Path, pictures: &[(u32, Shown)]) {
    let fresh = folder.join("fresh.png");
    for (slot, (number, kind)) in pictures.iter().cycle().take(SLOTS).enumerate() {
        drawn(*number, *kind).save(&fresh).expect("written");
        let name = format!("shown/{slot}.png");
        fs::rename(&fresh, folder.join(name)).expect("renamed");
    }
}

/// A line whose recipe `nut` has no references, with a page and a user of that role.
fn station() -> (Station, Page) {
    let page = Page::at(free_port());
    let table = page.table();
    let camera = |folder: &Path| {
        let shown = folder.join("shown");
        fs::create_dir(&shown).expect("made");
        let good: Vec<_> = (0..8).map(|number| (number, Shown::Good)).collect();
        show(folder, &good);
        format!(
            "kind = \"folder\"\nlocation = {shown:?}\nfps = 5\nloop = true\ndeadline_ms = 5000\nmm_per_pixel = 0.1"
        )
    };

    let station = Station::seeing(camera, |config, _| {
        config.without("references").tables(&table)
    });

    add_user(station.folder.path(), "sara", "setter");
    add_user(station.folder.path(), "otto", "operator");
    (station, page)
}

fn signed_in(page: &Page) -> Browser {
    let browser = Browser::start(1280, 800);
    browser.open(&page.address("/sign-in?next=/teach"));
    browser.fill("input[name=name]", "sara");
    browser.fill("input[name=password]", PASSWORD);
    browser.click("main form button");
    browser.wait_for("#recipe h2", |title| title.contains("The recipe nut@1"));
    browser
}

/// Shows the screen in both sizes, whole; keeps it where somebody wants to look at it.
#[track_caller]
fn look(browser: &Browser, name: &str) {
    for (width, height) in SIZES {
        browser.resize(width, height);
        let fits = "return document.documentElement.scrollWidth <= innerWidth";
        assert_eq!(browser.script(fits), true, "{name}: {width} x {height}");
        if let Some(folder) = std::env::var_os("WINSPECT_SCREENS") {
            let script = "return document.documentElement.scrollHeight";
            let whole = browser.script(script).as_u64().expect("a number");
            browser.resize(width, (whole as u32).max(height));
            let file = Path::new(&folder).join(format!("{name}-{width}.jpg"));
            fs::write(file, browser.screenshot()).expect("the folder is there");
        }
    }

    assert_usable(browser, name);

    browser.resize(1280, 800);
}

/// Waits for the message about what was just done.
#[track_caller]
fn told(browser: &Browser, words: &str) {
    browser.wait_for("#notice", |notice| notice.contains(words));
}

#[test]
fn a_setter_teaches_a_new_part_from_nothing_and_takes_it_back() {
    if !require("browser") {
        return;
    }

    let (station, page) = station();
    let folder = station.folder.path();
    let browser = signed_in(&page);

    // 1: a name.
    browser.fill("#new input[name=name]", "bolt");
    browser.click("#new button");
    told(&browser, "bolt@1 (edit: like nut)");
    browser.wait_for("#recipe", |recipe| {
        recipe.contains("The recipe bolt@1") && recipe.contains("It does not judge")
    });

    // 2: a mask by taps, and regions, which are thought better of.
    let field = |name: &str| {
        let script = format!("return document.querySelector('#view [name={name}]').value");
        browser.script(&script).as_str().expect("text").to_owned()
    };

    browser.click("[data-tool=mask]");
    for corner in [(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.25)] {
        browser.draw("#picture", &[corner]);
    }

    assert_eq!(field("mask"), "40,30 120,30 120,90");
    browser.click("[data-tool=region]");
    browser.draw("#picture", &[(0.1, 0.1), (0.4, 0.4)]);
    browser.draw("#picture", &[(0.9, 0.9), (0.6, 0.6)]);
    assert_eq!(field("regions"), "part1 16,12,48,36\npart2 96,72,48,36");
    assert_eq!(field("mask"), "", "each region has its own");
    assert_eq!(browser.count("#least tr"), 2);
    browser.click("[data-tool=clear]");
    assert_eq!(field("regions"), "");
    browser.click("[data-tool=crop]");

    // A crop by a finger; the smallest defect goes with it.
    let before = browser.text("#least");
    assert!(before.starts_with("the whole picture"), "{before}");
    assert!(before.contains("mm"), "{before}");
    browser.draw("#picture", &[(0.25, 0.2), (0.5, 0.5), (0.75, 0.8)]);
    let crop = "return ['x', 'y', 'w', 'h'].map((name) => \
                document.querySelector(`#view [name=${name}]`).value).join(',')";
    assert_eq!(browser.script(crop), "40,24,80,72");
    let after = browser.text("#least");
    assert!(after.starts_with("crop") && after != before, "{after}");
    look(&browser, "teach-crop");
    browser.click("#view button");
    told(&browser, "bolt@2 (edit: crop 40,24,80,72");

    // 3: eight good parts, and one that is none of them.
    let mut parts: Vec<_> = (10..18).map(|number| (number, Shown::Good)).collect();
    parts.push((18, Shown::Odd));
    show(folder, &parts);
    wait_for_a_turn(&station);
    browser.fill("#show-good input[name=parts]", "9");
    browser.click("#show-good button");
    browser.wait_for("#lesson", |lesson| lesson.contains("were seen"));
    browser.wait_for("#lesson", |lesson| {
        lesson.contains("TAUGHT") && lesson.contains("UNLIKE THE OTHERS")
    });
    assert_eq!(browser.count("#lesson .parts li.good"), 8);
    let apart = browser.text("#lesson .parts li.doubt");
    assert!(apart.contains(", they have at most 0."), "{apart}");
    let promise = browser.text("#promise");
    assert!(
        promise.starts_with("8 good parts: enough for \"auto\""),
        "{promise}"
    );
    let seen = "const images = [...document.querySelectorAll('#lesson img')]; \
                return images.length === 9 && images.every((image) => image.naturalWidth > 0)";
    wait_until("the pictures of the parts", PATIENCE, || {
        browser.script(seen) == true
    });
    look(&browser, "teach-good");
    browser.click("#lesson .parts li.doubt button[value=no]");
    told(&browser, "left out");
    browser.wait_for("#lesson", |lesson| lesson.contains("LEFT OUT"));

    // 4: a bad part, found or not.
    show(folder, &[(20, Shown::Bad), (21, Shown::Bad)]);
    wait_for_a_turn(&station);
    browser.click("#show-bad button");
    browser.wait_for("#threshold", |threshold| {
        threshold.contains("✓ found by its")
    });
    let found = browser.text("#lesson .found");
    assert!(found.contains("✓ found by its"), "{found}");
    look(&browser, "teach-bad");

    // 5: a number in the place of the threshold, which is taken back.
    assert!(browser.count("#threshold svg .good-bar") > 0);
    browser.script("document.querySelector('#rule [name=rule]').value = 'number'");
    browser.fill("#rule input[name=number]", "0.9");
    browser.click("#rule button");
    told(&browser, "threshold 0.9");
    browser.wait_for("#threshold", |threshold| {
        threshold.contains("threshold is 0.900")
    });
    browser.click("#activate form[action='/teach/undo'] button");
    told(&browser, "rolled back to bolt@4");

    // 6: it judges, and knows the bad part.
    browser.click("#activate form[action='/teach/activate'] button");
    told(&browser, "bolt@4 judges from now on");
    browser.wait_for("#recipe", |recipe| recipe.contains("It judges the line"));
    let plc = &station.plc;
    let is_of_bolt = |result: &serde_json::Value, verdict: &str| {
        let recipe = result["recipe"].as_str().unwrap_or_default();
        recipe.starts_with("bolt@") && result["verdict"] == verdict
    };

    plc.until_fits("box/result", |result| is_of_bolt(result, "fail"));
    show(folder, &[(10, Shown::Good), (11, Shown::Good)]);
    plc.until_fits("box/result", |result| is_of_bolt(result, "pass"));
    look(&browser, "teach-judges");

    // Undo: the revision before the bad part judges, and the one after it again.
    browser.click("#activate form[action='/teach/undo'] button");
    told(&browser, "rolled back to bolt@3");
    plc.until("box/result", "recipe", "bolt@3");
    browser.wait_for("#recipe", |recipe| recipe.contains("8 good, 0 bad"));
    let forms = browser.count("#activate form[action='/teach/undo']");
    assert_eq!(forms, 2, "back to bolt@2, and on to bolt@4 again");

    let errors = browser.console_errors();
    assert!(errors.is_empty(), "{errors:?}");
}

/// Returns once the camera has shown all its pictures of now.
fn wait_for_a_turn(station: &Station) {
    for _ in 0..2 * SLOTS {
        station.plc.next("box/result");
    }
}

/// The lesson of a recipe as the script asks for it, once it has ended.
#[track_caller]
fn ended_lesson(setter: &Session, recipe: &str) -> String {
    let mut version = String::new();
    let mut html = String::new();
    wait_until("the end of the lesson", PATIENCE, || {
        let address = format!("/teach/lesson?recipe={recipe}&since={version}");
        let update = json(&setter.get(&address).body);
        version = update["version"].as_str().expect("a hash").to_owned();
        html = update["html"].as_str().expect("text").to_owned();
        update["step"] == "done" || update["step"] == "refused"
    });

    html
}

/// The message that the screen of a recipe shows.
#[track_caller]
fn notice(setter: &Session, recipe: &str) -> String {
    let screen = setter.get(&format!("/teach?recipe={recipe}")).body;
    let (_, rest) = screen.split_once("id=\"notice\"").expect("a message");
    let (notice, _) = rest.split_once("</p>").expect("its end");
    notice.to_owned()
}

#[test]
fn without_a_script_the_same_is_done_by_plain_forms_and_outlives_a_restart() {
    let (station, page) = station();
    let folder = station.folder.path();
    let setter = Session::start(&page, "sara");
    setter.post("/teach/new", &[("name", "bolt"), ("like", "nut")]);
    assert!(notice(&setter, "bolt").contains("bolt@1"));
    setter.post("/teach/new", &[("name", "bolt"), ("like", "nut")]);
    assert!(notice(&setter, "nut").contains("there is a recipe &#34;bolt&#34; already"));

    let mut parts: Vec<_> = (10..18).map(|number| (number, Shown::Good)).collect();
    parts.push((18, Shown::Odd));
    show(folder, &parts);
    wait_for_a_turn(&station);
    let lesson = [
        ("recipe", "bolt"),
        ("parts", "9"),
        ("kind", "good"),
        ("camera", "top"),
    ];
    setter.post("/teach/parts", &lesson);
    assert!(notice(&setter, "bolt").contains("UNDER WAY"));
    let html = ended_lesson(&setter, "bolt");
    assert!(html.contains("UNLIKE THE OTHERS"), "{html}");
    let (_, rest) = html
        .split_once("name=\"part\" value=\"")
        .expect("one is apart");
    let (part, _) = rest.split_once('"').expect("its end");

    // The odd one is good all the same; it is decided on once.
    let keep = [
        ("recipe", "bolt"),
        ("lesson", "1"),
        ("part", part),
        ("kept", "yes"),
    ];
    setter.post("/teach/decide", &keep);
    assert!(notice(&setter, "bolt").contains("bolt@3 has 9 good"));
    let again = [
        ("recipe", "bolt"),
        ("lesson", "1"),
        ("part", part),
        ("kept", "no"),
    ];
    setter.post("/teach/decide", &again);
    assert!(notice(&setter, "bolt").contains("no such part to decide on"));

    // Nine good parts promise 10 %, and no 5 %.
    let rate = |percent| [("recipe", "bolt"), ("rule", "rate"), ("rate", percent)];
    setter.post("/teach/threshold", &rate("5"));
    let refused = notice(&setter, "bolt");
    assert!(refused.contains("needs 19 good parts"), "{refused}");
    setter.post("/teach/threshold", &rate("10"));
    assert!(notice(&setter, "bolt").contains("bolt@4 (edit: false_reject_rate 0.1)"));

    setter.post("/teach/activate", &[("recipe", "bolt")]);
    assert!(notice(&setter, "bolt").contains("DONE"));
    station.plc.until("box/result", "recipe", "bolt@4");

    // The line's file does not name it, and it judges after a restart all the same.
    let (station, _, birth) = station.restarted();
    let Station { line, plc, .. } = &station;
    assert_eq!(birth["recipe"], "bolt@4", "{birth}");
    let select = |recipe: &str| format!(r#"{{"id":"{recipe}","recipe":"{recipe}"}}"#);
    for recipe in ["nut", "bolt"] {
        plc.ask("select_recipe", &select(recipe), "accepted");
        plc.until_fits("ack/select_recipe", |answer| answer["status"] == "done");
    }

    // A reload keeps it, and going back is a plain form too.
    line.signal(libc::SIGHUP);
    let setter = Session::start(&page, "sara");
    setter.post("/teach/undo", &[("recipe", "bolt"), ("revision", "3")]);
    let notice = notice(&setter, "bolt");
    assert!(notice.contains("rolled back to bolt@3"), "{notice}");
    plc.until("box/result", "recipe", "bolt@3");
    station.summary();
}

#[test]
fn an_operator_reads_and_changes_nothing() {
    let (_station, page) = station();
    let signed_out = page.get("/teach").body;
    assert!(signed_out.contains("Sign in as setter"), "{signed_out}");
    assert!(!signed_out.contains("action=\"/teach/"), "{signed_out}");
    let operator = Session::start(&page, "otto");
    let screen = operator.get("/teach").body;
    assert!(screen.contains("this needs setter"), "{screen}");
    assert!(!screen.contains("action=\"/teach/"), "{screen}");
    for (path, form) in [
        ("/teach/new", vec![("name", "bolt"), ("like", "nut")]),
        ("/teach/view", vec![("recipe", "nut")]),
        (
            "/teach/parts",
            vec![("recipe", "nut"), ("parts", "1"), ("kind", "good")],
        ),
        (
            "/teach/threshold",
            vec![("recipe", "nut"), ("rule", "auto")],
        ),
        ("/teach/activate", vec![("recipe", "nut")]),
        ("/teach/undo", vec![("recipe", "nut"), ("revision", "1")]),
        (
            "/teach/decide",
            vec![
                ("recipe", "nut"),
                ("lesson", "1"),
                ("part", "a/b/1"),
                ("kept", "no"),
            ],
        ),
    ] {
        let answer = operator.post(path, &form);
        assert_eq!(answer.status, 303, "{path}: {}", answer.body);
        let screen = operator.get("/teach").body;
        assert!(screen.contains("needs setter"), "{path}: {screen}");
    }

    let setter = Session::start(&page, "sara");
    setter.post(
        "/teach/view",
        &[("recipe", "nut"), ("x", "a"), ("mask", "1,2")],
    );
    let screen = setter.get("/teach").body;
    for words in [
        "crop: left, top, width and height",
        "an outline is three corners",
    ] {
        assert!(screen.contains(words), "{words}: {screen}");
    }

    let crop = [
        ("recipe", "nut"),
        ("x", "150"),
        ("y", "0"),
        ("w", "20"),
        ("h", "20"),
    ];
    setter.post("/teach/view", &crop);
    let screen = setter.get("/teach").body;
    assert!(
        screen.contains("is not inside of a picture of 160 x 120"),
        "{screen}"
    );
    assert_eq!(setter.get("/teach?recipe=none").status, 404);
    assert_eq!(setter.get("/teach/frame/none").status, 404);
    assert_eq!(
        setter.get("/teach/frame/top").headers["content-type"],
        "image/jpeg"
    );
    assert_eq!(setter.get("/teach/part/1/0").status, 404);
}
