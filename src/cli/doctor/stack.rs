//! Files of a library that ask for an executable stack. The loader makes it so when such a file is opened, which a
//! hardened service does not allow (`MemoryDenyWriteExecute=yes`), nor does glibc from 2.41 on; a shell may.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A program header's type, and the flag that says "executable" (elf(5), 64 bits).
const PT_GNU_STACK: u32 = 0x6474_e551;
const PF_X: u32 = 1;
/// Bytes of a program header.
const HEADER: usize = 56;

/// Files of `folder` whose names begin with one of `starts` and that ask for an executable stack, sorted. One that cannot
/// be read asks for nothing.
pub fn executable_stacks(folder: &Path, starts: &[&str]) -> Vec<PathBuf> {
    // A folder that cannot be listed has nothing to tell.
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let file = entry.path();
        let is_asked = starts.iter().any(|start| name.starts_with(start));
        if is_asked && wants_executable_stack(&file).unwrap_or(false) {
            // Links to one file are told as that file, once.
            found.extend(file.canonicalize());
        }
    }

    found.sort();
    found.dedup();
    found
}

/// True for a 64-bit little-endian ELF file that asks for one. The rest of such a file, some gigabytes, is not read.
fn wants_executable_stack(path: &Path) -> std::io::Result<bool> {
    // The ELF header has 64 bytes: at 32 the offset of the program headers, at 56 their number.
    let mut file = File::open(path)?;
    let mut head = [0; 64];
    file.read_exact(&mut head)?;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return Ok(false);
    }

    let offset = head[32..40].try_into();
    let offset = u64::from_le_bytes(offset.expect("8 bytes"));
    let count = u16::from_le_bytes([head[56], head[57]]);

    // Their number has 16 bits, which bounds the buffer to 3.7 MB.
    let mut headers = vec![0; HEADER * usize::from(count)];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut headers)?;
    let mut headers = headers.chunks_exact(HEADER);
    Ok(headers.any(is_executable_stack))
}

fn is_executable_stack(header: &[u8]) -> bool {
    let kind = word(header, 0);
    let flags = word(header, 4);
    kind == PT_GNU_STACK && flags & PF_X != 0
}

fn word(header: &[u8], at: usize) -> u32 {
    let bytes = header[at..at + 4].try_into();
    u32::from_le_bytes(bytes.expect("4 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn only_a_library_that_was_linked_so_asks_for_an_executable_stack() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let put = |name: &str| folder.path().join(name);
        std::fs::write(put("a.c"), "int nothing;").expect("written");
        for (name, flag) in [
            ("libx_bad.so.1", "-Wl,-z,execstack"),
            ("libx_good.so.1", "-Wl,-z,noexecstack"),
        ] {
            let mut compiler = Command::new("cc");
            compiler
                .args(["-shared", "-fPIC", flag, "-o"])
                .arg(put(name))
                .arg(put("a.c"));

            assert!(
                compiler
                    .status()
                    .expect("the compiler that builds SQLite")
                    .success()
            );
        }

        std::os::unix::fs::symlink(put("libx_bad.so.1"), put("libx_bad.so")).expect("linked");
        std::fs::copy(put("libx_bad.so.1"), put("liby.so")).expect("copied");
        std::fs::write(put("libx_text.so"), "no library").expect("written");
        std::fs::write(
            put("libx_cut.so"),
            &std::fs::read(put("libx_bad.so.1")).expect("read")[..70],
        )
        .expect("written");

        let found = executable_stacks(folder.path(), &["libx"]);
        assert_eq!(found, [put("libx_bad.so.1").canonicalize().expect("there")]);
    }
}
