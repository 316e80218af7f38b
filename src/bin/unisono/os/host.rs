//! What the kernel tells of this host.

use super::checked;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::FromRawFd;

/// Room on a file system.
#[derive(Clone, Copy)]
pub struct FileSystem {
    pub bytes: u64,
    pub free_bytes: u64,
}

/// The file system that holds `path`.
pub fn file_system(path: &CStr) -> io::Result<FileSystem> {
    let mut found = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `path` ends with 0, the kernel writes into `found`, and a zeroed one is a valid value.
    let found = unsafe {
        checked(libc::statvfs(path.as_ptr(), found.as_mut_ptr()))?;
        found.assume_init()
    };
    Ok(FileSystem { bytes: found.f_frsize * found.f_blocks, free_bytes: found.f_frsize * found.f_bavail })
}

/// A file without a name, in memory.
pub fn memory_file() -> io::Result<File> {
    // SAFETY: the name ends with 0; the descriptor returned is nobody else's.
    unsafe { Ok(File::from_raw_fd(checked(libc::memfd_create(c"unisono".as_ptr(), libc::MFD_CLOEXEC))?)) }
}

/// One address of an interface, or the interface itself.
pub struct Address {
    pub interface: String,
    pub is_up: bool,
    pub is_loopback: bool,
    /// None where the entry is no IP address.
    pub address: Option<IpAddr>,
}

/// All interfaces of this host's network namespace with their addresses.
pub fn interfaces() -> io::Result<Vec<Address>> {
    let mut first = std::ptr::null_mut();
    // SAFETY: getifaddrs writes the head of a list that stays valid until it is freed below.
    checked(unsafe { libc::getifaddrs(&mut first) })?;
    let mut found = Vec::new();
    let mut next = first;
    // SAFETY: `next` is null or an entry of the list, which is not freed yet.
    while let Some(entry) = unsafe { next.as_ref() } {
        found.push(Address {
            // SAFETY: an entry's name ends with 0.
            interface: unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy().into_owned(),
            is_up: entry.ifa_flags & libc::IFF_UP as libc::c_uint != 0,
            is_loopback: entry.ifa_flags & libc::IFF_LOOPBACK as libc::c_uint != 0,
            // SAFETY: an entry's address is null or of the family that it says.
            address: unsafe { ip_address(entry.ifa_addr) },
        });
        next = entry.ifa_next;
    }
    // SAFETY: the list is freed once, and nothing of it is kept.
    unsafe { libc::freeifaddrs(first) };
    Ok(found)
}

/// # Safety
/// `address` is null or points to a socket address of the family that it names.
unsafe fn ip_address(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: the caller vouches for the pointer; the structures are those of the families.
    unsafe {
        match i32::from(address.as_ref()?.sa_family) {
            libc::AF_INET => {
                let address = &*address.cast::<libc::sockaddr_in>();
                Some(Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes()).into())
            }
            libc::AF_INET6 => Some(Ipv6Addr::from((*address.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr).into()),
            _ => None,
        }
    }
}
