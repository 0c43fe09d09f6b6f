//! The one integration-test binary: what needs files, a broker or a camera. Shared helpers live in [`support`].

mod architecture;
mod bad_image;
mod broker;
mod camera;
mod check;
mod disk;
mod doctor;
mod engine;
mod evaluate;
mod fetch;
mod fuzz;
#[cfg(feature = "gstreamer")]
mod genicam;
mod golden_encoder;
mod golden_scores;
mod gpu;
mod inspect;
mod line;
mod link;
mod messages;
mod misuse;
mod models;
mod networks;
mod notify;
mod parts;
mod pictures;
mod promises;
mod proof;
mod recipes;
mod running;
mod shape;
mod small_defects;
mod sources;
mod stand_ins;
mod support;
mod tls;
