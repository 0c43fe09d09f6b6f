//! What a camera sets by itself while it runs: every score follows it. Read for `winspect check`; changed by nobody.

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Automatics {
    /// These are on; the others that were asked for are off, or the camera has none.
    On(Vec<&'static str>),
    /// Nobody here can read them.
    Unreadable,
}

/// A V4L2 control: its id in linux/v4l2-controls.h, what it sets, and which values mean that a person does.
type Control = (u32, &'static str, &'static [i32]);

/// V4L2_CID_EXPOSURE_AUTO (1 is manual; shutter and aperture priority still follow the light), V4L2_CID_AUTOGAIN,
/// V4L2_CID_AUTO_WHITE_BALANCE.
const CONTROLS: [Control; 3] = [
    (0x009a_0901, "exposure", &[1]),
    (0x0098_0912, "gain", &[0]),
    (0x0098_090c, "white balance", &[0]),
];

/// `read` gives a control's value, nothing where the camera has no such control.
pub fn of_v4l2(read: impl Fn(u32) -> Option<i32>) -> Automatics {
    let found: Vec<(&str, bool)> = CONTROLS
        .iter()
        .filter_map(|(id, what, by_hand)| Some((*what, !by_hand.contains(&read(*id)?))))
        .collect();
    if found.is_empty() {
        return Automatics::Unreadable;
    }
    Automatics::On(
        found
            .into_iter()
            .filter(|(_, is_on)| *is_on)
            .map(|(what, _)| what)
            .collect(),
    )
}

/// A control of an open V4L2 device.
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
    // SAFETY: the request is told a structure of the size that its number says, which lives until it returns; a number
    // that is no open V4L2 device is answered with an error.
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
            of_v4l2(|id| {
                controls[CONTROLS
                    .iter()
                    .position(|control| control.0 == id)
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
            of_v4l2(|id| v4l2_control(file.as_raw_fd(), id)),
            Automatics::Unreadable
        );
    }
}
