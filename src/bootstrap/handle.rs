//! A file descriptor goes to another process of the host.

use super::socket::{Stream, Watch, check};
use super::wire::wait_out;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Instant;

/// Room for a control message with one descriptor. The kernel wants it aligned like its header.
#[repr(C)]
union ControlBuffer {
    header: libc::cmsghdr,
    // SAFETY: `CMSG_SPACE` only computes.
    bytes: [u8; unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) } as usize],
}

/// Bytes of a control message with exactly one descriptor; the padding behind it would let in a second.
const CONTROL_BYTES: usize = {
    // SAFETY: `CMSG_LEN` only computes.
    unsafe { libc::CMSG_LEN(size_of::<RawFd>() as u32) as usize }
};

/// Runs `use_message` with a message of one byte and room for one descriptor.
fn with_message<T>(use_message: impl FnOnce(&mut libc::msghdr) -> T) -> T {
    let mut byte = 0u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: all-zero bytes are valid for the union's plain integers, and for `msghdr`, whose pointers may be null.
    let (mut control, mut message): (ControlBuffer, libc::msghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = CONTROL_BYTES;
    use_message(&mut message)
}

/// Sends a descriptor over a Unix connection. The caller keeps its own.
pub(super) fn send_handle(stream: &Stream, handle: BorrowedFd<'_>, deadline: Instant) -> io::Result<()> {
    loop {
        let sent = with_message(|message| {
            // SAFETY: `with_message` gave a control buffer of `CONTROL_BYTES`, which holds the header and one descriptor;
            // everything that `message` points to lives until it returns.
            check(unsafe {
                let header = libc::CMSG_FIRSTHDR(message);
                (*header).cmsg_level = libc::SOL_SOCKET;
                (*header).cmsg_type = libc::SCM_RIGHTS;
                (*header).cmsg_len = CONTROL_BYTES as _;
                ptr::write_unaligned(libc::CMSG_DATA(header).cast::<RawFd>(), handle.as_raw_fd());
                libc::sendmsg(stream.as_fd().as_raw_fd(), message, libc::MSG_NOSIGNAL) as libc::c_int
            })
        });
        match sent {
            Ok(_) => return Ok(()),
            Err(error) => wait_out(error, Watch::writable(stream.as_fd()), deadline)?,
        }
    }
}

/// Receives a descriptor, close-on-exec.
///
/// # Errors
/// `UnexpectedEof` if the other end closed, `InvalidData` if it sent something else, `EMFILE` if this process may open no more files,
/// `TimedOut`.
pub(super) fn receive_handle(stream: &Stream, deadline: Instant) -> io::Result<OwnedFd> {
    loop {
        let received = with_message(|message| {
            let fd = stream.as_fd().as_raw_fd();
            // SAFETY: everything that `message` points to lives until `with_message` returns.
            let count = check(unsafe { libc::recvmsg(fd, message, libc::MSG_CMSG_CLOEXEC) as libc::c_int })?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // SAFETY: the kernel filled in the control buffer and its length, so the first header, if there is one, is
            // whole; a descriptor of `SCM_RIGHTS` is new in this process and owned by nobody else.
            unsafe {
                let header = libc::CMSG_FIRSTHDR(message);
                let is_handle = !header.is_null()
                    && (*header).cmsg_level == libc::SOL_SOCKET
                    && (*header).cmsg_type == libc::SCM_RIGHTS
                    && (*header).cmsg_len as usize == CONTROL_BYTES;
                // The kernel cuts off a descriptor for which this process has no room.
                if !is_handle && message.msg_flags & libc::MSG_CTRUNC != 0 {
                    return Err(io::Error::from_raw_os_error(libc::EMFILE));
                }
                if !is_handle {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "no file descriptor came"));
                }
                Ok(OwnedFd::from_raw_fd(ptr::read_unaligned(libc::CMSG_DATA(header).cast::<RawFd>())))
            }
        });
        match received {
            Ok(handle) => return Ok(handle),
            Err(error) => wait_out(error, Watch::readable(stream.as_fd()), deadline)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    fn pair() -> (Stream, Stream) {
        let (a, b) = UnixStream::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        b.set_nonblocking(true).unwrap();
        (Stream::Unix(a), Stream::Unix(b))
    }

    #[test]
    fn a_pipe_end_works_at_the_other_end() {
        let (near, far) = pair();
        let deadline = Instant::now() + Duration::from_secs(10);
        let (mut reader, writer) = io::pipe().unwrap();
        send_handle(&near, writer.as_fd(), deadline).unwrap();
        drop(writer);
        let mut writer = File::from(receive_handle(&far, deadline).unwrap());
        writer.write_all(b"through").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn bytes_silence_and_an_end_are_told_apart() {
        let (near, far) = pair();
        let soon = Instant::now() + Duration::from_millis(5);
        assert_eq!(receive_handle(&far, soon).unwrap_err().kind(), io::ErrorKind::TimedOut);
        near.send(b"x").unwrap();
        assert_eq!(receive_handle(&far, soon).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(near);
        assert_eq!(receive_handle(&far, soon).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
