//! Memory that ranks of one host share: anonymous for threads, a memfd for processes.
//!
//! A memfd has no name: it is gone with the last process that has it, however that ends.

use crate::error::{Error, ErrorKind, Result};
use crate::room::Limit;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

/// A mapping that starts zeroed, aligned to a page, unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    address: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is only an address range; whoever reads or writes through it orders those accesses by atomics in the
// mapping itself (see `ring`), and says so at each place.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Memory of this process and its threads.
    pub fn anonymous(len: usize) -> Result<Mapping> {
        Mapping::map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1)
    }

    /// The memory of a file that [`create_file`] made, in this or another process.
    pub fn of_file(file: &OwnedFd, len: usize) -> Result<Mapping> {
        Mapping::map(len, libc::MAP_SHARED, file.as_raw_fd())
    }

    fn map(len: usize, flags: i32, fd: i32) -> Result<Mapping> {
        assert!(len > 0, "an empty mapping");
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of ours.
        let address =
            unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
        if address == libc::MAP_FAILED {
            let cause = std::io::Error::last_os_error();
            return Err(Error::new(ErrorKind::Resource, format!("can't map {len} bytes of memory: {cause}"))
                .remedy("raise the memory limit (ulimit -v, the cgroup's), or set UNISONO_SHM_BYTES lower"));
        }
        Ok(Mapping { address: NonNull::new(address.cast()).expect("mmap gave null"), len })
    }

    pub fn address(&self) -> *mut u8 {
        self.address.as_ptr()
    }

    pub fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is ours since `map`, and nobody has a reference into it: rings, bells and windows hold an Arc of it.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.len) };
    }
}

/// A nameless file of `len` zero bytes in memory, to be handed to other processes as a descriptor.
///
/// Pages are taken as they are touched; a limit that could not hold them is reported here and not by a signal later.
pub fn create_file(len: usize) -> Result<OwnedFd> {
    for limit in [Limit::Group, Limit::FileSize] {
        if let Some(left) = limit.left().filter(|left| (len as u64) > *left) {
            return Err(Error::new(
                ErrorKind::Resource,
                format!("{len} bytes of shared memory are wanted, and {left} {}", limit.describe()),
            )
            .remedy("raise the limit, or set UNISONO_SHM_BYTES lower"));
        }
    }
    // SAFETY: the name is a C string; the call touches no other memory.
    let fd = unsafe { libc::memfd_create(c"unisono".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        let cause = std::io::Error::last_os_error();
        return Err(Error::new(ErrorKind::Resource, format!("can't create shared memory (memfd_create): {cause}"))
            .remedy("raise the limit of open files (ulimit -n), or take another transport"));
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.set_len(len as u64).map_err(|cause| {
        Error::new(ErrorKind::Resource, format!("can't size shared memory to {len} bytes: {cause}"))
            .remedy("raise the limit of file sizes (ulimit -f), or set UNISONO_SHM_BYTES lower")
    })?;
    Ok(file.into())
}
