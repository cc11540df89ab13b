//! `sealgate keygen`, `inspect` and `open`: what works on files, without a store.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::CommandError;
use crate::config::cli::{Keygen, Open};
use crate::config::{self, KeyBytes};
use crate::formats::offline;
use crate::gateway::{self, StartError};
use crate::keys::{KeyEncryptionKey, KeyId, Keyring, LocalKey, generate_key_file};

/// A new key as text.
fn new_key() -> Result<Zeroizing<String>, CommandError> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    if !gateway::entropy(&mut bytes[..]) {
        return Err(CommandError::Entropy);
    }
    Ok(generate_key_file(&bytes))
}

/// Writes a new key to a file that must not exist.
pub fn write_new_key(path: &Path) -> Result<(), CommandError> {
    let failed = &super::file_error(path);
    let key = new_key()?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(key.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

/// `sealgate keygen`.
pub fn keygen(arguments: &Keygen) -> Result<(), CommandError> {
    if arguments.out.as_os_str() == "-" {
        io::stdout().write_all(new_key()?.as_bytes())?;
        return Ok(());
    }
    write_new_key(&arguments.out)?;
    eprintln!(
        "wrote {}\nKeep a copy apart from the store: without this key nothing sealed with it can be opened.",
        arguments.out.display()
    );
    Ok(())
}

/// `sealgate inspect` of a file.
pub fn inspect(path: &Path) -> Result<(), CommandError> {
    let file = fs::File::open(path).map_err(super::file_error(path))?;
    let found = offline::inspect(file).map_err(super::about(path, |path, error| {
        CommandError::Object { path, error }
    }))?;
    println!("{found}");
    Ok(())
}

/// `sealgate open`. A file is written under a temporary name and renamed once all of it has verified, so a
/// damaged object leaves nothing that could be taken for a whole one.
pub fn open(arguments: &Open) -> Result<(), CommandError> {
    let keyring = keyring(arguments)?;
    let path = &arguments.object;
    let object = fs::File::open(path).map_err(super::file_error(path))?;
    let failed = super::about(path, |path, error| CommandError::Object { path, error });
    match &arguments.out {
        None => {
            let out = io::BufWriter::with_capacity(256 * 1024, io::stdout().lock());
            futures::executor::block_on(offline::open(object, &keyring, out)).map_err(failed)?;
        }
        Some(target) => {
            let refused = &super::file_error(target);
            let mut name = target.as_os_str().to_owned();
            name.push(".part");
            let temporary = std::path::PathBuf::from(name);
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)
                .map_err(refused)?;
            let opened = futures::executor::block_on(offline::open(object, &keyring, &mut file));
            let done = match opened {
                Ok(_) => file
                    .sync_all()
                    .and_then(|()| fs::rename(&temporary, target))
                    .map_err(refused),
                Err(error) => Err(failed(error)),
            };
            if done.is_err() {
                let _ = fs::remove_file(&temporary);
            }
            done?;
        }
    }
    eprintln!("{}: whole, and sealed under this keyring", path.display());
    Ok(())
}

fn keyring(arguments: &Open) -> Result<Keyring, CommandError> {
    let path = &arguments.keyring;
    let Some(id) = &arguments.key_id else {
        let loaded = config::Keyring::load(&super::sources(path))?;
        return Ok(gateway::keyring(&loaded.config)?);
    };
    let content = config::read_file(path).map_err(super::file_error(path))?;
    let key = KeyBytes::parse(&content).map_err(super::about(path, |path, error| {
        CommandError::KeyFile { path, error }
    }))?;
    let id = KeyId::new(id).map_err(|_| StartError::KeyId(id.clone()))?;
    let key: Arc<dyn KeyEncryptionKey> = Arc::new(LocalKey::new(
        id.clone(),
        arguments.key_version,
        key.expose(),
    ));
    Ok(Keyring::new([key], id).map_err(StartError::Keyring)?)
}
