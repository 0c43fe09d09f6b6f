//! Data that travels through a line: pictures, frames, parts, verdicts and reports.

pub mod counters;
pub mod evidence_counts;
pub mod frame;
pub mod grid;
pub mod history;
pub mod history_rows;
pub mod lens;
pub mod map;
pub mod nearest;
pub mod part;
pub mod part_counts;
pub mod picture;
pub mod pose;
pub mod queued_frame;
pub mod report;
pub mod result;
pub mod shifts;
pub mod shown_part;
pub mod statistics;
pub mod verdict;
