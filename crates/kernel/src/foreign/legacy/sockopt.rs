//! The socket options by which the older iptables gives its tables out.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use seaway_model::Family;

use crate::error::{Context, KernelError};

/// IPT_SO_GET_INFO and IP6T_SO_GET_INFO.
const GET_INFO: libc::c_int = 64;
/// IPT_SO_GET_ENTRIES and IP6T_SO_GET_ENTRIES.
const GET_ENTRIES: libc::c_int = 65;
/// Bytes of a table's name in `struct ipt_getinfo`.
const NAME: usize = 32;
/// Bytes of `struct ipt_getinfo`: the name, the valid hooks, five entries, five underflows, the
/// number of entries, their size.
const INFO: usize = NAME + 4 + 20 + 20 + 4 + 4;
/// Where the entries begin in `struct ipt_get_entries`: name and size, aligned to eight.
const ENTRIES: usize = NAME + 8;
/// How often a table is read anew because it changed between the two questions.
const TRIES: usize = 8;
/// A table larger than this is not believed.
const MOST: usize = 256 << 20;

/// A table as the kernel gives it out.
pub(super) struct RawTable {
    /// Bit per hook that the table has.
    pub(super) hooks: u32,
    /// Where the chain of each hook begins.
    pub(super) first: [u32; 5],
    /// Where the policy of each hook is.
    pub(super) policy: [u32; 5],
    /// All rules, one after the other.
    pub(super) entries: Vec<u8>,
}

/// Reads a table; `None` if there is none of this name.
pub(super) fn read(family: Family, table: &str) -> Result<Option<RawTable>, KernelError> {
    let object = || format!("{family} table {table} of iptables-legacy");
    let kind = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    let raw_ip = nix::sys::socket::SockProtocol::Raw;
    let socket = socket(kind, SockType::Raw, SockFlag::SOCK_CLOEXEC, raw_ip)
        .during("open a raw socket for", object)?;
    for _ in 0..TRIES {
        match read_once(&socket, family, table) {
            Ok(table) => return Ok(Some(table)),
            // It changed its size meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            Err(error) => return Err(error).during("read", object),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EAGAIN)).during("read", object)
}

fn read_once(socket: &OwnedFd, family: Family, table: &str) -> io::Result<RawTable> {
    let mut info = named(table, INFO)?;
    get(socket, family, GET_INFO, &mut info)?;
    let word = |at: usize| {
        let bytes = info[at..at + 4].try_into().expect("four bytes");
        u32::from_ne_bytes(bytes)
    };
    let five = |at: usize| [0, 4, 8, 12, 16].map(|offset| word(at + offset));
    let size = word(NAME + 48);
    if size as usize > MOST {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    let mut entries = named(table, ENTRIES + size as usize)?;
    entries[NAME..NAME + 4].copy_from_slice(&size.to_ne_bytes());
    get(socket, family, GET_ENTRIES, &mut entries)?;
    Ok(RawTable {
        hooks: word(NAME),
        first: five(NAME + 4),
        policy: five(NAME + 24),
        entries: entries.split_off(ENTRIES),
    })
}

/// A buffer that begins with the table's name.
fn named(table: &str, length: usize) -> io::Result<Vec<u8>> {
    if table.len() >= NAME {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    let mut buffer = vec![0; length];
    buffer[..table.len()].copy_from_slice(table.as_bytes());
    Ok(buffer)
}

fn get(socket: &OwnedFd, family: Family, option: libc::c_int, buffer: &mut [u8]) -> io::Result<()> {
    let level = match family {
        Family::V4 => libc::SOL_IP,
        Family::V6 => libc::SOL_IPV6,
    };
    let mut length = libc::socklen_t::try_from(buffer.len())
        .map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: the kernel reads and writes at most `length` bytes of `buffer`, which has so many.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            buffer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
