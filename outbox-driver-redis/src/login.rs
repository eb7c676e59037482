//! The reason why a server refused a login.

use crate::error::is_temporary;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisConnectionInfo, RedisError, RedisResult,
    ServerErrorKind, cmd,
};

/// The server's own error, where the crate `redis` returns a different one.
///
/// That crate reports each reply to `AUTH` that is not `OK` as a wrong password, and drops the code of
/// an error reply to `SELECT`. So a server that has too many clients, runs a script or loads its data
/// would look like one with another password. This function sends the commands again, one by one.
pub(crate) async fn cause(
    client: &Client,
    config: &AsyncConnectionConfig,
    error: RedisError,
) -> RedisError {
    if !is_replaced(&error) {
        return error;
    }
    match log_in(client, config).await {
        // The cause has passed meanwhile.
        Ok(()) => passed(&error),
        Err(error) => error,
    }
}

/// Behind sentinels the commands cannot be sent again, because only the crate `redis` knows the server.
/// A refused login may then succeed later, so it counts as unavailable.
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

/// The commands that the crate `redis` sends as one pipeline.
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
