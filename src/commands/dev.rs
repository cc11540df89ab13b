//! `sealgate dev`: a gateway over an embedded store in a local folder, nothing to configure.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tokio_util::sync::CancellationToken;

use super::{CommandError, files, serve};
use crate::config::cli::Dev;
use crate::config::{Config, LogFormat, LogLevel, Sources};
use crate::embedded;
use crate::gateway::{self, Listeners};
use crate::telemetry::logging;

/// Runs until a signal says stop.
pub async fn dev(arguments: Dev) -> Result<(), CommandError> {
    logging::start(
        LogLevel::Info,
        LogFormat::Human,
        super::variable("SEALGATE_LOG").as_deref(),
    )?;
    let data = &arguments.data;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .map_err(super::file_error(data))?;
    let key_file = data.join("key");
    if !key_file.exists() {
        files::write_new_key(&key_file)?;
    }
    let access_key = kept(&data.join("access-key"), || {
        Ok(format!("SG{}", letters(18)?))
    })?;
    let secret_key = kept(&data.join("secret-key"), || letters(40))?;
    // The store's own credentials live as long as the process.
    let (store_access, store_secret) = (letters(20)?, letters(40)?);
    let store = embedded::start(embedded::Options {
        data: data.join("store"),
        access_key: store_access.clone(),
        secret_key: store_secret.clone(),
        listen: ([127, 0, 0, 1], 0).into(),
    })
    .await?;

    let text = serde_json::json!({
        "server": {"listen": arguments.listen.to_string()},
        "store": {
            "endpoint": format!("http://{}", store.endpoint),
            "region": embedded::REGION,
            "access_key": store_access,
            "secret_key": store_secret,
        },
        "keyring": {"current": "dev", "keys": [{"id": "dev", "kind": "local", "file": absolute(&key_file)?}]},
        "users": [{"access_key": access_key, "secret_key": secret_key, "allowed_buckets": ["*"]}],
    });
    // JSON is YAML; `$` in a value would be taken for a variable, and none of these has one.
    let config = Config::load(
        &Sources::new(&|_| None, &crate::config::read_file).with_text("dev", text.to_string()),
    )?;
    let mut config = config.config;
    config.server.admin_listen = arguments.admin_listen;
    let listeners = Listeners::bind(&config.server).await?;
    let listen = listeners.s3.local_addr()?;
    let endpoint = format!("http://{listen}");

    if let Some(file) = &arguments.json {
        let ready = serde_json::json!({
            "endpoint": endpoint,
            "region": embedded::REGION,
            "access_key": access_key,
            "secret_key": secret_key,
            // For whoever wants to see what is stored. These are others at the next start.
            "store": {
                "endpoint": format!("http://{}", store.endpoint),
                "access_key": store_access,
                "secret_key": store_secret,
            },
        });
        write_private(file, &format!("{ready:#}\n")).map_err(super::file_error(file))?;
    }
    println!("{}", banner(&endpoint, &access_key, &secret_key, data));

    let stop = CancellationToken::new();
    serve::stop_on_signal(stop.clone())?;
    gateway::run(&config, listeners, stop).await?;
    store.shutdown().await;
    Ok(())
}

fn absolute(path: &Path) -> Result<std::path::PathBuf, CommandError> {
    std::path::absolute(path).map_err(super::file_error(path))
}

/// The content of a file, made on the first start.
fn kept(
    path: &Path,
    make: impl FnOnce() -> Result<String, CommandError>,
) -> Result<String, CommandError> {
    let failed = &super::file_error(path);
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Ok(_) => Err(failed(std::io::Error::other(
            "the file is empty; delete it to have a new one made",
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = make()?;
            write_private(path, &format!("{text}\n")).map_err(failed)?;
            Ok(text)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Random letters and digits.
fn letters(count: usize) -> Result<String, CommandError> {
    let mut text = String::new();
    while text.len() < count {
        let mut bytes = [0u8; 48];
        if !gateway::entropy(&mut bytes) {
            return Err(CommandError::Entropy);
        }
        text.extend(
            BASE64_URL_SAFE_NO_PAD
                .encode(bytes)
                .chars()
                .filter(char::is_ascii_alphanumeric),
        );
    }
    text.truncate(count);
    Ok(text)
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = std::path::PathBuf::from(name);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

fn banner(endpoint: &str, access_key: &str, secret_key: &str, data: &Path) -> String {
    let region = embedded::REGION;
    let data = data.display();
    format!(
        "\
Sealgate is ready at {endpoint}
Objects, the key and the credentials are kept in {data}. This is for trying it out, not for production.

aws cli:
  export AWS_ENDPOINT_URL={endpoint} AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret_key} AWS_DEFAULT_REGION={region}
  aws s3 mb s3://test && aws s3 cp README.md s3://test/ && aws s3 ls s3://test/

rclone:
  export RCLONE_CONFIG_SEALGATE_TYPE=s3 RCLONE_CONFIG_SEALGATE_PROVIDER=Other RCLONE_CONFIG_SEALGATE_ENDPOINT={endpoint} RCLONE_CONFIG_SEALGATE_ACCESS_KEY_ID={access_key} RCLONE_CONFIG_SEALGATE_SECRET_ACCESS_KEY={secret_key} RCLONE_CONFIG_SEALGATE_REGION={region}
  rclone copy README.md sealgate:test --s3-upload-cutoff 5G

restic:
  export AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret_key} RESTIC_PASSWORD=choose-one
  restic -r s3:{endpoint}/restic init && restic -r s3:{endpoint}/restic backup .

What the store holds is ciphertext: look into {data}/store. Stop with Ctrl-C."
    )
}
