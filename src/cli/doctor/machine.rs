//! The machine itself: NVIDIA hardware that the system sees, and folders that this user can write.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// NVIDIA's GPUs on the PCI bus, and a Jetson's name. `root` is the file system's.
pub fn nvidia_hardware(root: &Path) -> Vec<String> {
    // The kernel lists PCI devices whether or not a driver knows them.
    let devices = std::fs::read_dir(root.join("sys/bus/pci/devices"));
    let mut found: Vec<String> = devices
        .into_iter()
        .flatten()
        .flatten()
        .filter(|device| is_nvidia_gpu(&device.path()))
        .map(|device| {
            let slot = device.file_name();
            format!("an NVIDIA GPU at PCI {}", slot.to_string_lossy())
        })
        .collect();

    found.sort();

    // A Jetson's GPU is no PCI device; its board names itself.
    if text(&root.join("proc/device-tree/compatible")).contains("nvidia,tegra") {
        found.push(text(&root.join("proc/device-tree/model")));
    }

    found
}

/// A display controller (class 03) of NVIDIA's (vendor 10de).
fn is_nvidia_gpu(device: &Path) -> bool {
    let vendor = text(&device.join("vendor"));
    let class = text(&device.join("class"));
    vendor == "0x10de" && class.starts_with("0x03")
}

/// Text of a file of the kernel's without its end; empty where there is none.
fn text(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.trim_matches(['\0', '\n']).to_owned()
}

/// True for a folder that this user can write.
pub fn is_writable(folder: &Path) -> bool {
    let Ok(name) = CString::new(folder.as_os_str().as_bytes()) else {
        return false;
    };

    // SAFETY: access(2) reads the terminated text, which lives until it returns.
    unsafe { libc::access(name.as_ptr(), libc::W_OK) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_written_is_seen() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(is_writable(folder.path()));
        // Root may write everywhere but there.
        assert!(!is_writable(Path::new("/proc/none")) && !is_writable(&folder.path().join("none")));
    }

    #[test]
    fn hardware_is_seen_without_a_driver() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let put = |path: &str, text: &str| {
            let file = root.path().join(path);
            std::fs::create_dir_all(file.parent().expect("in a folder")).expect("made");
            std::fs::write(file, text).expect("written");
        };

        assert!(nvidia_hardware(root.path()).is_empty());
        for (slot, vendor, class) in [
            ("01", "0x10de", "0x030000"),
            ("02", "0x10de", "0x040300"),
            ("03", "0x8086", "0x030000"),
        ] {
            put(
                &format!("sys/bus/pci/devices/{slot}/vendor"),
                &format!("{vendor}\n"),
            );

            put(
                &format!("sys/bus/pci/devices/{slot}/class"),
                &format!("{class}\n"),
            );
        }

        put(
            "proc/device-tree/compatible",
            "nvidia,p3701\0nvidia,tegra234\0",
        );

        put("proc/device-tree/model", "NVIDIA Jetson AGX Orin\0");
        assert_eq!(
            nvidia_hardware(root.path()),
            ["an NVIDIA GPU at PCI 01", "NVIDIA Jetson AGX Orin"]
        );
    }
}
