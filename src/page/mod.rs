//! The page: what people who live with a line see of it in a browser, and its figures for machines.
//!
//! ```text
//! inspector --judged frames, newest wins--> FrameSlots -> page-pictures --JPEG--> Album --+
//! line::events --events, may drop--> Board -----------------------------------------------+--> Screens
//! LineView --counters, condition--> LineNow -----------------------------------------------+      |
//!                                     \--> /metrics, /health/live, /health/ready      requests of viewers
//! ```
//! The page commands for signed-in users alone ([`access`]), through the command handler as the other doors do
//! (`commands`). It cannot hold a verdict up: it is told events that it may
//! miss, and frames that a newer one replaces; each is counted or told.
//!
//! **Where the screens are.** Screens that change by themselves are made of fragments (`screen`): `live`, `check` (Shift
//! check), `lens` (Camera and lens), `counters`, `health`. Screens of forms are made for each request (`form_page`): `rejects`,
//! `teach`, `false_rejects`, `pareto` (what fails, and where), `recipes`, `users`, `account` (the own password), `shift_screen` (reset of
//! the shift), `access::sign_in`. `health_forms` adds what a setter does at Health, `support` makes its bundle. `tabs` has their addresses,
//! and `routes` joins them.
//!
//! **Live parts of a screen.** A screen is a list of [`screen::Fragment`]s, each rendered once for all
//! viewers and stamped with the version at which it changed. A viewer asks for what is newer than the
//! version that it has, and waits for the answer (`/updates/SCREEN?since=VERSION`). A WebSocket or a
//! stream of events would fill the buffers of a slow link with states that are old when they arrive; a
//! viewer who asks gets the newest state, and the parts between are told as *not shown*. The script is
//! our own (`assets/page.js`, a hundred lines), because replacing fragments is all that it does.
//! Without the script the same page comes whole, and a reload shows the newest.
//!
//! **Failure paths.** A port that is taken ends the start ([`bind`]). A viewer that does not read, or
//! sends half a request, is left after [`server`]'s limits; connections beyond its bound are refused
//! in words. The end of the line closes the page.
//!
//! Bounds: [`server::CONNECTIONS_MAX`] connections, `album`'s pictures, `board`'s parts and events;
//! pictures that wait are two a camera at most (`frames`).

pub mod access;
mod account;
mod advice;
mod album;
mod assets;
mod blocking;
mod board;
mod check;
mod commands;
mod counters;
mod disk;
mod download;
mod evidence;
mod false_rejects;
mod form_page;
mod frames;
mod health;
mod health_forms;
mod hosts;
mod lens;
mod line_facts;
mod live;
mod metrics;
mod now;
mod numbers;
mod painter;
mod pareto;
mod pulses;
mod recipe_row;
mod recipes;
mod rejects;
mod routes;
pub mod screen;
mod search;
pub mod server;
mod shift;
mod shift_screen;
mod state;
pub mod support;
mod tabs;
pub mod teach;
pub mod tls;
mod users;
mod whole_page;
mod words;

pub use self::frames::{FrameSlots, ShownFrames, frame_slots};
pub use self::line_facts::LineFacts;
pub use self::metrics::{METRICS, MetricKind, MetricRow};
pub use self::now::{LineNow, PageSettings};
pub use self::numbers::NumberForm;
pub use self::painter::{PagePictures, PictureStage};
pub use self::pulses::Pulses;
pub use self::recipe_row::{RecipeRow, RevisionRow};
pub use self::server::{Bound, PageWiring, bind, run};
pub use self::teach::small_picture;
