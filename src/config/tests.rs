//! Whole files: what is enough, and how all problems of one are told.

use super::line::{LineConfig, load, read};
use crate::base::problems::Problems;
use crate::recipe::spec::{RecipeSpec, Threshold};
use crate::winclip::MapKind;

fn read_text(text: &str) -> Result<LineConfig, Problems> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("line.toml");
    std::fs::write(&path, text).expect("written");
    load(&path)
}

const SMALL: &str = r#"
prefix = "plant/press"
station = "box"
model = "m"
[recipe]
name = "nut"
maps = ["patch", 2]
threshold = "auto"
[[camera]]
name = "top"
kind = "test"
"#;

#[test]
fn a_small_file_is_enough_and_the_rest_has_defaults() {
    let line = read_text(SMALL).expect("fits");
    assert_eq!(line.mqtt.client_id, "winspect-plant-press-box");
    assert_eq!(line.recipe.thresholds, [Threshold::Auto { factor: 1.1 }]);
    assert_eq!(
        line.recipe.winclip.maps,
        Some(vec![MapKind::Patch, MapKind::Windows(2)])
    );

    assert!(line.model.is_absolute() && line.model.ends_with("m"));
}

#[test]
fn a_recipe_that_locates_looks_at_the_parts_area_and_its_mistakes_are_told_at_once() {
    let text = |locate: &str| {
        SMALL.replace(
            "[[camera]]",
            &format!("[recipe.locate]\n{locate}\n[[camera]]"),
        )
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let master = folder.path().join("master.png");
    std::fs::write(&master, "a picture").expect("written");
    let plain = text(&format!(
        "master = {master:?}\narea = [10, 20, 30, 40]\nturn_max = 180"
    ));
    let recipe = read_text(&plain).expect("fits").recipe;
    let limits = recipe.locate.expect("it was asked for").limits;
    assert_eq!(recipe.winclip.regions[0].crop, Some(limits.area));
    assert_eq!((limits.area.x, limits.area.h), (10, 40));
    assert_eq!(
        (limits.turn_max_deg, limits.move_max, limits.likeness_min),
        (180.0, 0.25, 0.5)
    );
    let wrong = text(
        "master = \"gone.png\"\nturn_max = 181\nmove_max = nan\nlikeness = 0\nare = [1, 2, 3, 4]",
    );
    let problems = read_text(&wrong).expect_err("many").to_string();
    for words in [
        "gone.png is not a picture that is there",
        "recipe.locate.area: missing: [x, y, width, height] of the part on the master picture",
        "recipe.locate.turn_max: ",
        "recipe.locate.move_max: ",
        "recipe.locate.likeness: ",
        "recipe.locate.are: unknown key \"are\"; did you mean \"area\"?",
    ] {
        assert!(problems.contains(words), "{words:?} is not in:\n{problems}");
    }
}

#[test]
fn all_problems_are_told_at_once_with_the_way_out() {
    let text = SMALL
        .replace("\"plant/press\"", "\"plant/+\"")
        .replace("\"auto\"", "nan")
        .replace("kind = \"test\"", "kind = \"tset\"\nnoise = 1")
        + "[mqtt]\nhost = \"10.0.0.1\"\nprot = 1\n[extra]\n";

    let problems = read_text(&text).expect_err("many").to_string();
    for words in [
        "prefix: must be part of a topic",
        "recipe.threshold: must be a finite number, got NaN",
        "camera[0].kind: ",
        "did you mean \"test\"?",
        "mqtt.host: \"10.0.0.1\" is another machine",
        "mqtt.prot: unknown key \"prot\"; did you mean \"port\"?",
        "extra: unknown key \"extra\"",
    ] {
        assert!(problems.contains(words), "{words:?} is not in:\n{problems}");
    }
}

#[test]
fn old_keys_are_told_by_their_new_names_with_all_other_problems() {
    let old = "[recipe]\ntiles = 480\nsize = 70\nsise = 70";
    let text = SMALL
        .replace("[recipe]", old)
        .replace("\"auto\"", "\"best\"");

    let problems = read_text(&text).expect_err("old keys").to_string();
    for words in [
        "recipe.tiles: renamed to tile_px in 0.2",
        "recipe.size: renamed to input_px in 0.2",
        "recipe.sise: unknown key \"sise\"",
        "recipe.threshold: must be \"auto\" or a number",
    ] {
        assert!(problems.contains(words), "{words:?} is not in:\n{problems}");
    }

    assert_eq!(problems.lines().count(), 4, "{problems}");
}

#[test]
fn a_number_that_is_none_is_refused_in_a_recipe_of_its_own_file_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let recipe = "name = \"nut\"\nthreshold = nan\n";
    std::fs::write(folder.path().join("nut.toml"), recipe).expect("written");
    let text = "prefix = \"p\"\nstation = \"s\"\nmodel = \"m\"\nrecipe = \"nut.toml\"\n\
                [[camera]]\nname = \"top\"\nkind = \"test\"\n";

    let path = folder.path().join("line.toml");
    std::fs::write(&path, text).expect("written");
    let problems = load(&path).expect_err("not a number").to_string();
    assert!(
        problems.contains("recipe.threshold: must be a finite number, got NaN"),
        "{problems}"
    );
}

#[test]
fn the_environment_wins_over_the_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("line.toml");
    std::fs::write(&path, SMALL).expect("written");
    let variables = [
        ("WINSPECT__MQTT__PORT", "1999"),
        ("WINSPECT__RECIPE__THRESHOLD", "0.4"),
    ];

    let source = variables
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();

    let environment = config::Environment::with_prefix("WINSPECT")
        .prefix_separator("__")
        .separator("__")
        .source(Some(source));

    let line = read(&path, environment).expect("fits");
    assert_eq!(
        (line.mqtt.port, line.recipe.thresholds),
        (1999, vec![Threshold::Fixed(0.4)])
    );
}

#[test]
fn regions_have_their_own_thresholds_or_the_recipes() {
    let regions = "[[recipe.region]]\nname = \"thread\"\ncrop = [0, 0, 90, 80]\nthreshold = 0.3\n\
                   [[recipe.region]]\nname = \"rim\"\ncrop = [9, 0, 90, 80]\nmask = [[[9, 0], [20, 0], [9, 9]]]\n";

    let line =
        read_text(&SMALL.replace("[[camera]]", &format!("{regions}[[camera]]"))).expect("fits");

    let RecipeSpec {
        winclip,
        thresholds,
        ..
    } = line.recipe;

    let names: Vec<_> = winclip
        .regions
        .iter()
        .map(|region| region.name.as_deref())
        .collect();

    assert_eq!(names, [Some("thread"), Some("rim")]);
    assert_eq!(
        (winclip.regions[0].mask.len(), winclip.regions[1].mask.len()),
        (0, 1)
    );

    assert_eq!(
        thresholds,
        [Threshold::Fixed(0.3), Threshold::Auto { factor: 1.1 }]
    );
}

#[test]
fn all_problems_of_regions_are_told_at_once() {
    let region = |text: &str| format!("[[recipe.region]]\n{text}\n");
    let regions = [
        "name = \"rim/1\"\ncrop = [0, 0, 90, 80]",
        "name = \"rim\"",
        "name = \"rim\"\ncrop = [0, 0, 0, 80]\nthreshold = 3",
        "name = \"a-name-that-is-longer-than-thirty-two\"\ncrop = [0, 0, 9, 9]\nmaks = []",
    ];

    let own = "[recipe]\ncrop = [0, 0, 90, 80]";
    let text = SMALL
        .replace("[recipe]", own)
        .replace("[[camera]]", &(regions.map(region).concat() + "[[camera]]"));

    let problems = read_text(&text.replace("\"top\"", "\"top\"\nmm_per_pixel = 0"))
        .expect_err("many")
        .to_string();

    for words in [
        "recipe.crop: cannot be had beside [[recipe.region]]",
        "recipe.region[0].name: must be part of a topic",
        "recipe.region[1].crop: missing: [x, y, width, height]",
        "recipe.region[2].name: \"rim\" is another region's name",
        "recipe.region[2].crop: must be x,y,width,height",
        "recipe.region[2].threshold: must be \"auto\" or a number from 0 to 2, got 3",
        "recipe.region[3].name: must be at most 32 characters long, got 37",
        "recipe.region[3].maks: unknown key \"maks\"; did you mean \"mask\"?",
        "camera[0].mm_per_pixel: must be a number from",
    ] {
        assert!(problems.contains(words), "{words:?} is not in:\n{problems}");
    }

    let problems = read_text(&SMALL.replace("[recipe]", "[recipe]\nregion = 3"))
        .expect_err("a number")
        .to_string();

    assert!(
        problems.contains("recipe.region: must be [[recipe.region]] tables, got 3"),
        "{problems}"
    );
}

#[test]
fn two_cameras_of_one_name_are_refused() {
    let text = format!("{SMALL}[[camera]]\nname = \"top\"\nkind = \"test\"\n");
    assert!(read_text(&text).is_err_and(|p| {
        p.to_string()
            .contains("camera[1].name: \"top\" is another camera's name")
    }));
}
