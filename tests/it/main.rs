//! The one integration-test binary: what needs files, a broker or a camera. One file a subject;
//! what all of them stand on is in [`harness`].

#![allow(
    clippy::too_many_lines,
    reason = "a test tells one story from beginning to end"
)]

mod architecture;
mod aspect;
mod bad_image;
mod bounds;
mod camera;
#[cfg(feature = "gstreamer")]
mod camera_faults;
mod changeover;
mod check;
mod choice;
mod commands;
mod control;
mod crash;
#[cfg(feature = "gstreamer")]
mod damaged_streams;
mod default_block;
mod delivery;
mod disk;
mod doctor;
mod drift;
mod engine;
mod evaluate;
mod evidence;
mod fetch;
mod fuzz;
mod gate;
#[cfg(feature = "gstreamer")]
mod genicam;
mod golden_encoder;
mod golden_scores;
mod gpu;
mod harness;
mod history;
mod imported;
mod inspect;
mod known_bad;
mod lessons;
mod library;
mod link;
mod locate;
mod messages;
mod misuse;
mod models;
mod networks;
mod notify;
mod own_part;
mod page;
mod page_access;
mod page_axe;
mod page_browser;
mod page_checks;
mod page_false_rejects;
mod page_pareto;
mod page_plain;
mod page_recipes;
mod page_rejects;
mod page_support;
mod page_teach;
mod page_users;
mod parts;
mod pictures;
mod planted;
mod plc;
mod proof;
mod ready;
mod recipes;
mod recordings;
mod refusals;
mod reload;
mod renamed_keys;
mod replay;
mod rumqttd;
mod shadow;
mod shape;
mod shift_check;
mod small_defects;
mod sources;
mod stand_ins;
mod strict;
mod suggest;
mod teach;
mod thinned;
mod threshold;
mod tls;
mod turned;
mod undecided;
mod upgrade;
mod what_if;
mod whole_line;
