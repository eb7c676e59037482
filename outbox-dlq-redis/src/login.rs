//! Why a server refused a login.

use crate::error::is_temporary;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisConnectionInfo, RedisError, RedisResult,
    ServerErrorKind, cmd,
};

/// The server's own error, where the driver gives another one in its place.
///
/// The driver reports each answer to `AUTH` that is not `OK` as a wrong password, and drops the code
/// of an answer to `SELECT`. A server that has too many clients, that runs a script or that loads its
/// data would look like one with another password. So the commands are sent again one by one.
pub(crate) async fn cause(
    client: &Client,
    config: &AsyncConnectionConfig,
    error: RedisError,
) -> RedisError {
    if !is_replaced(&error) {
        return error;
    }
    match log_in(client, config).await {
        // What the driver met has passed meanwhile.
        Ok(()) => passed(&error),
        Err(error) => error,
    }
}

/// For a server that only the driver can find: it is unknown whether a refused login can succeed
/// later, so it counts as one that can.
#[cfg(feature = "sentinel")]
pub(crate) fn unknown_cause(error: RedisError) -> RedisError {
    let of_select = "refused to switch database";
    let of_the_number = [
        "DB index",
        "index is out of range",
        "not allowed in cluster",
    ];
    let is_of_select = error.to_string().contains(of_select) && {
        let detail = error.detail().unwrap_or_default();
        !of_the_number.iter().any(|text| detail.contains(text))
    };
    if error.kind() == ErrorKind::AuthenticationFailed || is_of_select {
        return passed(&error);
    }
    error
}

fn is_replaced(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::ResponseError)
    ) && !is_temporary(error)
}

fn passed(error: &RedisError) -> RedisError {
    let why = "the server refused the login for the moment";
    RedisError::from((ErrorKind::Io, why, error.to_string()))
}

async fn log_in(client: &Client, config: &AsyncConnectionConfig) -> RedisResult<()> {
    let info = client.get_connection_info();
    let settings = info.redis_settings();
    let without = info
        .clone()
        .set_redis_settings(RedisConnectionInfo::default().set_skip_set_lib_name());
    let mut connection = Client::open(without)?
        .get_multiplexed_async_connection_with_config(config)
        .await?;
    for command in commands(settings) {
        command.exec_async(&mut connection).await?;
    }
    Ok(())
}

/// What the driver sends in one piece.
fn commands(settings: &RedisConnectionInfo) -> Vec<Cmd> {
    let mut commands = Vec::new();
    if let Some(password) = settings.password() {
        let mut auth = cmd("AUTH");
        auth.arg(settings.username()).arg(password);
        commands.push(auth);
    }
    if settings.db() != 0 {
        let mut select = cmd("SELECT");
        select.arg(settings.db());
        commands.push(select);
    }
    commands
}
