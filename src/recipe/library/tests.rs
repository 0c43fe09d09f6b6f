//! Revisions that are made, read, rolled back and taken away; and what is refused.

use super::draft::{Draft, DraftPicture};
use super::error::LibraryError;
use super::folder::Library;
use super::hold::RevisionHold;
use super::manifest::{ChangeKind, PictureUse};
use super::promotion::Promotion;
use super::revision::Revision;
use super::table;
use super::writer::LibraryWriter;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// A file with that content, as a picture of a good part.
pub fn picture(folder: &Path, content: &str) -> DraftPicture {
    let file = folder.join(format!("{content}.PNG"));
    fs::write(&file, content).expect("written");

    DraftPicture::new(PictureUse::Good, file)
}

/// A first revision with these pictures.
pub fn draft(name: &str, folder: &Path, pictures: &[&str]) -> Draft {
    let serde_json::Value::Object(table) = json!({"preset": "paper", "threshold": "auto"}) else {
        unreachable!("it is a table");
    };

    Draft {
        name: name.to_owned(),
        least_number: 1,
        thresholds: table::thresholds(&table, "the table"),
        table,
        pictures: pictures
            .iter()
            .map(|words| picture(folder, words))
            .collect(),
        by: "a test".to_owned(),
        change: ChangeKind::Taught,
        parent: None,
        origin: None,
        model: None,
        choice: None,
    }
}

/// A library with one recipe `nut` of two pictures.
fn library() -> (tempfile::TempDir, Library, Revision) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let library = Library::at(folder.path().join("library"));
    let writer = LibraryWriter::lock(&library).expect("free");
    let revision = writer
        .commit(&draft("nut", folder.path(), &["a", "b"]))
        .expect("a revision");

    (folder, library, revision)
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, LibraryError>) -> String {
    outcome.expect_err("refused").to_string()
}

#[test]
fn a_revision_holds_all_that_it_was_made_of() {
    let (folder, library, revision) = library();
    assert_eq!(library.names().expect("a folder"), ["nut"]);
    assert_eq!(
        library.current("nut").expect("whole"),
        Some(revision.clone())
    );

    revision.verify().expect("whole");
    let manifest = revision.manifest();
    assert_eq!(manifest.label(), "nut@1");
    assert_eq!(manifest.pictures[0].from, "a.PNG");

    // By sha256sum.
    let a = "good/ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb.png";
    assert_eq!(manifest.pictures[0].file, a);
    assert!(revision.folder().join(a).is_file());

    // The originals may go.
    fs::remove_file(folder.path().join("a.PNG")).expect("gone");
    revision.verify().expect("whole");
    let table = revision.table().expect("whole");
    assert_eq!(table["references"][0], a);
    assert_eq!(table["revision"], 1);
}

#[test]
fn a_master_picture_is_kept_and_is_no_reference() {
    let (folder, library, revision) = library();
    let writer = LibraryWriter::lock(&library).expect("free");
    let mut next = Draft::after(&revision, String::new()).expect("whole");
    let locate = json!({"master": "elsewhere.png", "area": [1, 2, 3, 4]});
    next.table.insert("locate".to_owned(), locate);

    // The master may be one of the references.
    next.pictures.push(DraftPicture {
        used_as: PictureUse::Master,
        ..picture(folder.path(), "a")
    });

    let next = writer.commit(&next).expect("a revision");
    next.verify().expect("whole");
    let table = next.table().expect("whole");
    let master = table["locate"]["master"].as_str().expect("a path");
    assert!(master.starts_with("master/ca978112") && next.folder().join(master).is_file());
    assert_eq!(table["references"].as_array().map(Vec::len), Some(2));
    assert_eq!(table["locate"]["area"][3], 4);
    let after = Draft::after(&next, String::new()).expect("whole");
    let again = writer.commit(&after).expect("a revision");
    assert_eq!(again.table().expect("whole")["locate"]["master"], master);

    // Without another one it cannot go; the reference of that content can.
    let mut draft = Draft::after(&again, String::new()).expect("whole");
    draft.forget("ca978112").expect("the reference");
    let words = refusal(draft.forget("ca978112"));
    assert!(words.contains("is the master picture"), "{words}");
}

#[test]
fn a_threshold_makes_a_revision_and_a_rollback_undoes_it() {
    let (_folder, library, revision) = library();
    let writer = LibraryWriter::lock(&library).expect("free");
    let mut next = Draft::after(&revision, "set_threshold".to_owned()).expect("whole");
    next.set_threshold(None, 0.31, "set_threshold, was 0.28")
        .expect("it has one");

    let next = writer.commit(&next).expect("a revision");
    assert_eq!(next.manifest().label(), "nut@2");
    assert_eq!(next.manifest().parent, Some(1));
    assert_eq!(next.manifest().thresholds[0].value, "0.31");
    assert_eq!(next.table().expect("whole")["threshold"], 0.31);
    next.verify().expect("whole");
    let back = writer.roll_back("nut", None).expect("there is one before");
    assert_eq!(back, revision);
    assert_eq!(library.current("nut").expect("whole"), Some(revision));

    // The one that judged before is now the second, which a second rollback brings back.
    let again = writer.roll_back("nut", None).expect("there is one before");
    assert_eq!(again, next);
    let words = refusal(writer.roll_back("nut", Some(7)));
    assert!(words.contains("no revision 7; it has 1, 2"), "{words}");

    // A revision after a rollback has a number of its own.
    writer.roll_back("nut", Some(1)).expect("it is there");
    let third = Draft::after(&again, String::new()).expect("whole");
    assert_eq!(writer.commit(&third).expect("made").manifest().revision, 3);
}

#[test]
fn the_second_of_two_writers_is_refused() {
    let (_folder, library, _) = library();
    let writer = LibraryWriter::lock(&library).expect("free");
    let words = refusal(LibraryWriter::lock(&library));
    assert!(words.contains("another command is changing"), "{words}");
    drop(writer);
    LibraryWriter::lock(&library).expect("free again");
}

#[test]
fn the_current_revision_and_the_one_before_are_never_taken_away() {
    let (folder, library, _) = library();
    let mut writer = LibraryWriter::lock(&library).expect("free");
    let mut next = |kind: ChangeKind, count: usize, bytes: u64| {
        writer.limit(count, bytes);
        let current = library.current("nut").expect("whole").expect("one");
        let mut draft = Draft::after(&current, String::new()).expect("whole");
        draft.change = kind;
        writer.commit(&draft).expect("made");
        library.numbers("nut").expect("a folder")
    };

    next(ChangeKind::Taught, 9, u64::MAX);
    next(ChangeKind::Threshold, 9, u64::MAX);
    next(ChangeKind::Taught, 9, u64::MAX);

    // A threshold's goes before what was taught.
    assert_eq!(next(ChangeKind::Taught, 4, u64::MAX), [1, 2, 4, 5]);

    // All have the same two files of one byte, which count once.
    assert_eq!(next(ChangeKind::Taught, 9, 2), [1, 2, 4, 5, 6]);
    assert_eq!(next(ChangeKind::Taught, 9, 1), [6, 7]);
    assert_eq!(next(ChangeKind::Taught, 1, 1), [7, 8]);
    let old = LibraryWriter::lock(&library);
    assert!(old.is_err(), "it is locked");
    drop(writer);
    let writer = LibraryWriter::lock(&library).expect("free");
    writer.roll_back("nut", Some(7)).expect("there");
    drop(folder);
}

#[test]
fn a_candidate_waits_and_a_held_revision_stays() {
    let (folder, library, first) = library();
    let mut writer = LibraryWriter::lock(&library).expect("free");
    let next = |writer: &LibraryWriter| {
        let current = library.current("nut").expect("whole").expect("one");
        let draft = Draft::after(&current, String::new()).expect("whole");
        writer.write(&draft).expect("written")
    };

    let candidate = next(&writer);
    writer.keep_candidate(&candidate).expect("kept");
    let is_current = |number| {
        let current = library.current("nut").expect("whole").expect("one");
        current.manifest().revision == number
    };

    assert!(is_current(1));

    // Each is made of the current one, and has a number of its own.
    writer.limit(2, u64::MAX);
    let second = next(&writer);
    assert_eq!(second.manifest().parent, Some(1));
    writer.keep_candidate(&second).expect("kept");
    assert_eq!(library.numbers("nut").expect("a folder"), [1, 3]);

    // One that is held outlives later ones; one that is not goes.
    let hold = RevisionHold::of(&second).expect("there");
    let also = RevisionHold::of(&second).expect("two lines may share a library");
    let third = next(&writer);
    writer.keep_candidate(&third).expect("kept");
    assert_eq!(library.numbers("nut").expect("a folder"), [1, 3, 4]);
    drop(also);
    writer.make_current(&third).expect("there");
    assert_eq!(library.numbers("nut").expect("a folder"), [1, 3, 4]);
    drop(hold);
    let fourth = next(&writer);
    writer.make_current(&fourth).expect("there");
    assert_eq!(library.numbers("nut").expect("a folder"), [4, 5]);

    // A recipe without any current revision would have none to judge by.
    let alone = writer
        .write(&draft("bolt", folder.path(), &["c"]))
        .expect("written");

    let words = refusal(writer.keep_candidate(&alone));
    assert!(words.contains("has no revision that judges"), "{words}");
    assert!(!alone.folder().exists());
    drop(first);
}

#[test]
fn a_promotion_says_what_it_loses_and_asks_before() {
    let (folder, library, _first) = library();
    let writer = LibraryWriter::lock(&library).expect("free");
    let current = || library.current("nut").expect("whole").expect("one");
    let next = || Draft::after(&current(), String::new()).expect("whole");
    let promotion = |number, force| {
        let revision = library.revision("nut", number).expect("there");
        Promotion::to(&revision, &library, force)
    };

    let words = |number, force| promotion(number, force).expect("it may").words();

    // Two candidates of nut@1: both are promoted freely while nothing else was taught.
    for _ in 0..2 {
        let candidate = writer.write(&next()).expect("written");
        writer.keep_candidate(&candidate).expect("kept");
    }

    assert_eq!(words(2, false), "promoted nut@2");

    // The current one is taught: a picture more, a picture less, another threshold.
    let mut taught = next();
    let known = draft("bolt", folder.path(), &["x"]).pictures;
    taught.pictures.extend(known);
    let forgotten = taught.pictures.remove(0);
    assert_eq!(forgotten.used_as, PictureUse::Good);
    taught.set_threshold(None, 0.77, "a test").expect("one");
    writer.commit(&taught).expect("written");
    let refused = refusal(promotion(2, false));

    for words in [
        "nut@2 would lose what nut@4 has since it was made: 1 picture taught, ",
        "1 picture forgotten",
        "the threshold 0.77",
        "make the candidate anew",
    ] {
        assert!(refused.contains(words), "{words:?} is not in {refused}");
    }

    let forced = words(2, true);
    assert!(
        forced.starts_with("promoted nut@2, which loses what nut@4 had since: 1 picture taught"),
        "{forced}"
    );

    // What was current once is gone back to, whatever it has not; also when its number is higher.
    writer.roll_back("nut", Some(2)).expect("there");
    assert_eq!(words(4, false), "went on to nut@4");
    writer.roll_back("nut", Some(4)).expect("there");
    writer.commit(&next()).expect("written");
    assert_eq!(words(2, false), "rolled back to nut@2");
}

#[test]
fn a_promotion_says_which_view_it_loses() {
    let (_folder, library, first) = library();
    let writer = LibraryWriter::lock(&library).expect("free");
    let candidate_of = |revision: &Revision, key: &str, value: serde_json::Value| {
        let mut draft = Draft::after(revision, String::new()).expect("whole");
        draft.table.insert(key.to_owned(), value);
        let candidate = writer.write(&draft).expect("written");
        writer.keep_candidate(&candidate).expect("kept");
        candidate
    };

    let promotion = |revision: &Revision| Promotion::to(revision, &library, false);
    let left = json!([[[0, 0], [9, 0], [9, 9]]]);
    let right = json!([[[5, 0], [9, 0], [9, 9]]]);
    let masked = candidate_of(&first, "mask", left.clone());
    let other = candidate_of(&first, "mask", right);
    let same = candidate_of(&first, "mask", left);
    promotion(&other).expect("nothing has changed since");

    // The mask of the one judges: the other, and what has no mask at all, would take it back.
    writer.roll_back("nut", Some(2)).expect("there");
    assert_eq!(masked.manifest().revision, 2);
    let refused = refusal(promotion(&other));
    let words = "nut@3 would lose what nut@2 has since it was made: what it looks at";
    assert!(refused.contains(words), "{refused}");
    promotion(&same).expect("its own view is the same");

    let after = candidate_of(&masked, "top_share", json!(0.1));
    promotion(&after).expect("it has the mask of its parent");
}

/// A change to a revision's files, by its folder.
type Change<'a> = &'a dyn Fn(&Path);

/// Puts other words into a file.
fn edit(path: PathBuf, from: &str, to: &str) {
    let text = fs::read_to_string(&path).expect("text");
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).expect("written");
}

fn cut(path: PathBuf, length: u64) {
    let file = fs::OpenOptions::new().write(true).open(path);
    file.expect("there").set_len(length).expect("cut");
}

/// Changes to a revision's files, and the words of the refusal.
#[test]
fn what_was_changed_is_refused_in_words() {
    let hash = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
    let picture = format!("good/{hash}.png");
    let cases: [(Change, &str); 9] = [
        (
            &|r| fs::write(r.join(&picture), "x").expect("written"),
            "is not what nut@1",
        ),
        (
            &|r| fs::remove_file(r.join(&picture)).expect("gone"),
            "the picture is missing",
        ),
        (
            &|r| edit(r.join("recipe.toml"), "auto", "none"),
            "recipe.toml: it was changed",
        ),
        (
            &|r| edit(r.join("manifest.json"), "a test", "others"),
            "its own sha256 is another",
        ),
        (
            &|r| edit(r.join("manifest.json"), "\"format\": 1", "\"format\": 2"),
            "newer winspect",
        ),
        (
            &|r| edit(r.join("manifest.json"), "\"by\"", "\"bye\""),
            "cut short or was changed",
        ),
        (
            &|r| cut(r.join("manifest.json"), 300),
            "cut short or was changed",
        ),
        (
            &|r| fs::write(r.join("../current"), "{\"current\":").expect("cut"),
            "does not name",
        ),
        (
            &|r| fs::write(r.join("../current"), "{\"current\":9,\"before\":null}").expect("cut"),
            "no revision 9; it has 1",
        ),
    ];

    for (change, words) in cases {
        let (_folder, library, revision) = library();
        change(revision.folder());
        let read = library.current("nut").and_then(|current| {
            let current = current.expect("one");
            current.verify().map(|()| current)
        });

        let refused = refusal(read);
        assert!(refused.contains(words), "{refused}");

        // The name is not free for another recipe.
        assert_eq!(library.names().expect("a folder"), ["nut"]);
    }
}

/// A manifest that hashes right and lies: such as an archive may bring.
#[test]
fn a_picture_is_never_outside_its_revision() {
    for file in [
        "../good/x.png",
        "/etc/passwd",
        "good/../../x",
        "bad/x.png",
        "good/x.png",
    ] {
        let (_folder, library, revision) = library();
        let mut manifest = revision.manifest().clone();
        manifest.pictures[0].file = file.to_owned();
        let path = revision.folder().join("manifest.json");
        fs::write(path, manifest.encode()).expect("written");
        let words = refusal(library.current("nut"));
        assert!(words.contains("is no name of a picture"), "{words}");
    }
}

#[test]
fn one_picture_is_not_good_and_bad() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let library = Library::at(folder.path().join("library"));
    let writer = LibraryWriter::lock(&library).expect("free");
    let mut both = draft("nut", folder.path(), &["a", "b", "a"]);
    writer.commit(&both).expect("twice counts once");
    let mut bad = picture(folder.path(), "b");
    bad.used_as = PictureUse::Bad;
    both.pictures.push(bad);
    let words = refusal(writer.commit(&both));
    assert!(
        words.contains("b.PNG is given as a good part and as a bad"),
        "{words}"
    );

    assert_eq!(library.numbers("nut").expect("a folder"), [1]);
    assert!(
        refusal(writer.commit(&draft("../nut", folder.path(), &[]))).contains("must have no /")
    );

    assert!(refusal(library.revision("bolt", 1)).contains("has no recipe \"bolt\"; it has nut"));
}

#[test]
fn a_pointer_that_is_gone_is_set_by_a_rollback() {
    let (_folder, library, revision) = library();
    fs::remove_file(revision.folder().join("../current")).expect("gone");
    assert_eq!(library.current("nut").expect("whole"), None);
    let words = library.no_recipe("nut").to_string();
    assert!(words.contains("roll back to one: --revision 1"), "{words}");
    let writer = LibraryWriter::lock(&library).expect("free");
    refusal(writer.roll_back("nut", None));
    writer.roll_back("nut", Some(1)).expect("it is there");
    assert_eq!(library.current("nut").expect("whole"), Some(revision));
}
