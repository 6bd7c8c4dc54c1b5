//! What a program's ELF header says: which processor it is for, and whether it needs a loader.

use anyhow::{Context, Result, bail, ensure};

/// A program as its header describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Elf {
    /// The processor, as container images name it.
    pub(super) architecture: &'static str,
    /// It asks for a dynamic loader, so it does not run alone.
    pub(super) dynamic: bool,
}

const PROGRAM_INTERPRETER: u32 = 3;

/// Reads the header of a 64-bit little-endian program.
pub(super) fn read(program: &[u8]) -> Result<Elf> {
    ensure!(
        program.starts_with(b"\x7fELF\x02\x01"),
        "no 64-bit little-endian ELF program"
    );
    let headers = usize::try_from(number::<8>(program, 32)?)?;
    let size = usize::try_from(number::<2>(program, 54)?)?;
    let count = usize::try_from(number::<2>(program, 56)?)?;
    let mut dynamic = false;
    for index in 0..count {
        let kind = number::<4>(program, headers.saturating_add(index * size))?;
        dynamic |= kind == u64::from(PROGRAM_INTERPRETER);
    }
    Ok(Elf {
        architecture: architecture(number::<2>(program, 18)?)?,
        dynamic,
    })
}

fn architecture(machine: u64) -> Result<&'static str> {
    Ok(match machine {
        0x3e => "amd64",
        0xb7 => "arm64",
        0xf3 => "riscv64",
        other => bail!("images for ELF machine {other:#x} have no name here"),
    })
}

fn number<const WIDTH: usize>(program: &[u8], offset: usize) -> Result<u64> {
    let bytes = program.get(offset..).and_then(<[u8]>::first_chunk::<WIDTH>);
    let mut wide = [0; 8];
    wide[..WIDTH].copy_from_slice(bytes.context("the ELF header is cut off")?);
    Ok(u64::from_le_bytes(wide))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The smallest header that says something.
    pub(in crate::image) fn program(machine: u16, kinds: &[u32]) -> Vec<u8> {
        let mut program = vec![0; 64];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        program[18..20].copy_from_slice(&machine.to_le_bytes());
        program[32] = 64;
        program[54] = 56;
        program[56] = u8::try_from(kinds.len()).expect("few");
        for kind in kinds {
            program.extend_from_slice(&kind.to_le_bytes());
            program.extend_from_slice(&[0; 52]);
        }
        program
    }

    #[test]
    fn headers_are_read() {
        let read =
            |machine, kinds: &[u32]| read(&program(machine, kinds)).map_err(|e| e.to_string());
        let elf = |architecture, dynamic| {
            Ok(Elf {
                architecture,
                dynamic,
            })
        };
        assert_eq!(read(0x3e, &[1, 1]), elf("amd64", false));
        assert_eq!(read(0xb7, &[6, PROGRAM_INTERPRETER]), elf("arm64", true));
        assert!(read(0x28, &[]).is_err_and(|e| e.contains("0x28")));
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(super::read(b"#!/bin/sh").is_err());
        let cut = &program(0x3e, &[1])[..66];
        assert!(super::read(cut).is_err());
    }

    #[test]
    fn this_test_is_a_program() {
        let own = std::env::current_exe()
            .and_then(std::fs::read)
            .expect("own program");
        super::read(&own).expect("an ELF program");
    }
}
