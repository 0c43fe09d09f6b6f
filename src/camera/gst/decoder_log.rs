//! FFmpeg's words about a stream, by the thread that decodes it.
//!
//! FFmpeg conceals what a picture lacks and hands it over without a mark; it only says so in its
//! log, which gst-libav passes on as GStreamer's debug category `libav`, without the object that is
//! meant. With one thread a decoder speaks on the thread that feeds it.

use gstreamer as gst;
use std::cell::RefCell;
use std::sync::Once;

/// The debug category of gst-libav.
const CATEGORY: &str = "libav";

/// Beginning of the one message below an error that tells of a picture's damage.
const CONCEALING: &str = "concealing ";

/// Beginnings of errors about what no picture is made of.
const HARMLESS: [&str; 7] = [
    // Cameras that leave the times in their headers at zero: FFmpeg says so at each key frame.
    "time_scale/num_units_in_tick",
    "Clipping illegal num_reorder_frames",
    "SEI ",
    "Overread ",
    "VUI ",
    "Unknown SEI",
    "non-existing SPS",
];

/// Longest message that is kept, in characters: a result's detail has little room.
const WORDS_MAX: usize = 80;

thread_local! {
    /// First words of FFmpeg on this thread since they were last taken.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

static LISTENING: Once = Once::new();

/// Starts to listen, once in a process.
pub fn listen() {
    LISTENING.call_once(|| {
        // GStreamer's own printer would write what is listened to here. A person who set GST_DEBUG
        // wants it, and hears more of `libav` than was asked for.
        if std::env::var_os("GST_DEBUG").is_none() {
            gst::log::remove_default_log_function();
        }

        // The concealment is told as information; nothing more talkative is let through.
        gst::log::set_threshold_for_name(CATEGORY, gst::DebugLevel::Info);
        gst::log::add_log_function(|category, level, file, _, _, _, message| {
            // Words of gst-libav itself have a file: they are about buffers, not about pictures.
            let is_of_ffmpeg = file.is_empty() && category.name() == CATEGORY;

            if is_of_ffmpeg && let Some(words) = message.get() {
                note(level, &words);
            }
        });
    });
}

/// Takes the first damage that FFmpeg told on this thread since the last call.
pub fn take() -> Option<String> {
    SAID.try_with(|said| said.borrow_mut().take())
        .ok()
        .flatten()
}

fn note(level: gst::DebugLevel, words: &str) {
    if !is_damage(level, words) {
        return;
    }

    // The first message names the cause; the later ones are often its consequences. A thread that
    // ends has no place for words any more, and no pictures either.
    let _ = SAID.try_with(|said| {
        let mut said = said.borrow_mut();
        said.get_or_insert_with(|| words.trim().chars().take(WORDS_MAX).collect());
    });
}

fn is_damage(level: gst::DebugLevel, words: &str) -> bool {
    match level {
        gst::DebugLevel::Error => !HARMLESS.iter().any(|known| words.starts_with(known)),
        _ => words.starts_with(CONCEALING),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_concealment_are_damage_and_nothing_else_is() {
        use gst::DebugLevel;
        let table = [
            (DebugLevel::Error, "error while decoding MB 3 4", true),
            (
                DebugLevel::Info,
                "concealing 20 DC, 20 AC, 20 MV errors in P frame",
                true,
            ),
            (DebugLevel::Info, "Reinit context to 320x240", false),
            (DebugLevel::Warning, "Increasing reorder buffer to 2", false),
            (
                DebugLevel::Error,
                "SEI type 5 size 40 truncated at 8",
                false,
            ),
        ];

        for (level, words, expected) in table {
            assert_eq!(is_damage(level, words), expected, "{words}");
        }
    }
}
