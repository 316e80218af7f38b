//! What must hold of what ranks say of themselves, and of the variables by which users choose. See [`crate::fuzzing`].

use super::create::Hello;
use super::settings::Settings;
use crate::error::ErrorKind;
use crate::fuzzing::{assert_one_sentence, peak_bytes};

/// A hello can be said again, or is told in one sentence that does not grow with it.
pub(crate) fn hello(bytes: &[u8]) {
    let (hello, peak) = peak_bytes(|| Hello::decode(3, bytes));
    assert!(peak <= 8 * bytes.len() + 4096, "{peak} bytes for a hello of {}", bytes.len());
    match hello {
        Ok(hello) => assert_eq!(Hello::decode(3, &hello.encode()).ok(), Some(hello)),
        Err(error) => {
            assert_eq!((error.kind(), error.peer()), (ErrorKind::Rendezvous, Some(3)));
            assert_one_sentence(&error.to_string(), 0);
            assert!(!error.to_string().contains(char::is_control));
        }
    }
}

/// Settings from variables, or one sentence about the wrong one.
pub(crate) fn settings(lookup: &dyn Fn(&str) -> Option<String>, bytes: usize) {
    match Settings::default().or_environment(lookup) {
        Ok(settings) => assert!(!settings.timeout().is_zero()),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Configuration | ErrorKind::InvalidArgument));
            assert_one_sentence(&error.to_string(), bytes);
        }
    }
}

/// What ranks say of themselves, by target and name.
#[cfg(test)]
pub(crate) fn recorded() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    use crate::types::TransportKind;
    let plain = Hello {
        version: "0.1.0".to_owned(),
        algorithm: None,
        rules: None,
        transport: None,
        require: None,
        shm_bytes: None,
        processors: 2,
        strict: true,
        speeds: None,
    };
    let chosen = Hello {
        algorithm: Some("ring".to_owned()),
        transport: Some(TransportKind::Tcp),
        require: Some(TransportKind::Shm),
        shm_bytes: Some(1 << 20),
        speeds: Some(crate::topology::host::Speeds::ASSUMED),
        ..plain.clone()
    };
    vec![("hello", "plain", plain.encode()), ("hello", "chosen", chosen.encode())]
}
