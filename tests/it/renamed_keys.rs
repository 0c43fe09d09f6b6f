//! Keys and flags of 0.1 that have another name: each is refused by its new one, beside all other problems.

use crate::harness::golden::golden;
use crate::harness::program::winspect;
use std::path::Path;
use std::process::Output;

fn refused(arguments: &[&str], folder: &Path) -> Output {
    winspect()
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the binary was built")
}

#[test]
fn old_keys_are_told_with_all_other_problems() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bolt = "name = \"bolt\"\nsize = 98\nthreshold = 1.5\n";
    std::fs::write(folder.path().join("bolt.toml"), bolt).expect("written");
    let line = format!(
        "prefix = \"plant\"\nstation = \"a/b\"\nmodel = \"none\"\nrecipes = [\"bolt.toml\"]\n\
         [recipe]\nname = \"nut\"\ntiles = 480\nsize = \"big\"\nthreshold = 7\n\
         [[camera]]\nname = \"top\"\nkind = \"folder\"\nlocation = {:?}\n",
        golden("open-clip-tiny")
    );

    std::fs::write(folder.path().join("line.toml"), line).expect("written");
    for command in ["check", "run"] {
        let output = refused(&[command, "line.toml"], folder.path());
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let words = String::from_utf8_lossy(&output.stderr);
        for problem in [
            "station: must be part of a topic",
            "recipe.tiles: renamed to tile_px in 0.2",
            "recipe.size: renamed to input_px in 0.2",
            "recipe.threshold: must be \"auto\" or a number from 0 to 2, got 7",
            "recipes[0] (bolt.toml): ",
        ] {
            assert!(words.contains(problem), "{problem:?} is not in:\n{words}");
        }

        assert_eq!(words.matches("renamed to input_px").count(), 2, "{words}");
        assert!(!words.contains("unknown key"), "{words}");
    }
}

#[test]
fn an_old_key_beside_the_new_one_is_refused_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let line = "prefix = \"p\"\nstation = \"s\"\nmodel = \"m\"\n[recipe]\nname = \"nut\"\n\
                input_px = 70\nsize = 70\n[[camera]]\nname = \"top\"\nkind = \"test\"\n";

    std::fs::write(folder.path().join("line.toml"), line).expect("written");
    let output = refused(&["run", "line.toml"], folder.path());
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        words.contains("recipe.size: renamed to input_px in 0.2"),
        "{words}"
    );
}

#[test]
fn old_flags_are_told_by_their_new_names() {
    let here = Path::new(".");
    for (arguments, words) in [
        (
            "inspect --model m --size 70 a.png",
            "winspect: --size: renamed to --input-px in 0.2\n",
        ),
        (
            "inspect --model m --tiles=70 a.png",
            "winspect: --tiles: renamed to --tile-px in 0.2\n",
        ),
        (
            "bench cameras --size 70",
            "winspect: --size: renamed to --input-px in 0.2\n",
        ),
        (
            "engine build --size 70 m",
            "winspect: --size: renamed to --input-px in 0.2\n",
        ),
    ] {
        let list: Vec<&str> = arguments.split(' ').collect();
        let output = refused(&list, here);
        assert_eq!(output.status.code(), Some(64), "{arguments}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), words);
        assert!(output.stdout.is_empty(), "{arguments}");
    }
}

#[test]
fn keys_of_the_folder_of_overlays_are_told_by_those_of_the_evidence() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let line = "prefix = \"p\"\nstation = \"s\"\nmodel = \"m\"\noverlays = \"o\"\noverlays_mb = 5\n\
                overlays_days = 5\n[recipe]\nname = \"nut\"\n[[camera]]\nname = \"top\"\nkind = \"test\"\n\
                [evidence]\nmb = 0\nnear = 2\nformat = \"bmp\"\nkeep = 1\n";

    std::fs::write(folder.path().join("line.toml"), line).expect("written");
    let output = refused(&["run", "line.toml"], folder.path());
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let words = String::from_utf8_lossy(&output.stderr);
    for problem in [
        "overlays: renamed to folder in [evidence] in 0.3",
        "overlays_mb: renamed to mb in [evidence] in 0.3",
        "overlays_days: renamed to days in [evidence] in 0.3",
        "evidence.folder: missing",
        "evidence.mb: must be a whole number from 1 to 100000000, got 0",
        "evidence.near: must be a number from 0 to 1, got 2",
        "evidence.format: must be one of \"png\", \"jpeg\", got \"bmp\"",
        "evidence.keep: unknown key",
    ] {
        assert!(words.contains(problem), "{problem:?} is not in:\n{words}");
    }
}
