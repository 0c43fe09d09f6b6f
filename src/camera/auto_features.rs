//! Automatic features: values that a camera sets by itself while it runs, which every score follows.
//! Read for `winspect check`, and never changed.

/// Automatic features of a camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Automatics {
    /// Names of those that are on. The others that were asked for are off, or the camera has none.
    On(Vec<&'static str>),
    /// The camera offers no way to read them.
    Unreadable,
}

/// A V4L2 control that may be automatic.
struct Control {
    /// Id in linux/v4l2-controls.h.
    id: u32,
    /// The feature's name for people.
    feature: &'static str,
    /// Value that means: set by hand.
    by_hand: i32,
}

/// V4L2_CID_EXPOSURE_AUTO (shutter and aperture priority still follow the light), V4L2_CID_AUTOGAIN,
/// V4L2_CID_AUTO_WHITE_BALANCE.
const CONTROLS: [Control; 3] = [
    Control {
        id: 0x009a_0901,
        feature: "exposure",
        by_hand: 1,
    },
    Control {
        id: 0x0098_0912,
        feature: "gain",
        by_hand: 0,
    },
    Control {
        id: 0x0098_090c,
        feature: "white balance",
        by_hand: 0,
    },
];

/// Automatic features of a V4L2 camera. `read` returns a control's value, `None` if the camera has no
/// such control.
pub fn v4l2_automatics(read: impl Fn(u32) -> Option<i32>) -> Automatics {
    let mut on = Vec::new();
    let mut can_be_read = false;

    for control in &CONTROLS {
        let Some(value) = read(control.id) else {
            continue;
        };

        can_be_read = true;
        if value != control.by_hand {
            on.push(control.feature);
        }
    }

    if can_be_read {
        Automatics::On(on)
    } else {
        Automatics::Unreadable
    }
}

/// Value of a control of an open V4L2 device. `None` if the device has no such control.
pub fn v4l2_control(device: i32, id: u32) -> Option<i32> {
    /// `struct v4l2_control`
    #[repr(C)]
    struct V4l2Control {
        id: u32,
        value: i32,
    }

    /// `_IOWR('V', 27, struct v4l2_control)`
    const VIDIOC_G_CTRL: libc::c_ulong = 0xc008_561b;

    let mut control = V4l2Control { id, value: 0 };

    // SAFETY: the request is told a structure of the size that its number says, which lives until it
    // returns; a number that is no open V4L2 device is answered with an error.
    let answer = unsafe { libc::ioctl(device, VIDIOC_G_CTRL as _, &raw mut control) };

    (answer == 0).then_some(control.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn what_a_v4l2_camera_sets_by_itself_is_named_and_what_it_has_not_is_not() {
        let camera = |controls: [Option<i32>; 3]| {
            v4l2_automatics(|id| {
                controls[CONTROLS
                    .iter()
                    .position(|control| control.id == id)
                    .expect("one of ours")]
            })
        };

        assert_eq!(
            camera([Some(3), Some(1), Some(1)]),
            Automatics::On(vec!["exposure", "gain", "white balance"])
        );

        assert_eq!(
            camera([Some(0), None, Some(0)]),
            Automatics::On(vec!["exposure"])
        );

        assert_eq!(camera([Some(1), Some(0), None]), Automatics::On(vec![]));
        assert_eq!(camera([None; 3]), Automatics::Unreadable);
    }

    #[test]
    fn what_is_no_camera_has_no_controls() {
        let file = std::fs::File::open("/dev/null").expect("everywhere");
        assert_eq!(
            v4l2_automatics(|id| v4l2_control(file.as_raw_fd(), id)),
            Automatics::Unreadable
        );
    }
}
