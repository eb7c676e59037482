#![doc = include_str!("../README.md")]

mod component;
mod config;
mod connection;
mod driver;
mod error;
mod info;
mod keys;
mod login;
mod server;
mod shared;

pub use component::Component;
pub use config::RedisConfig;
pub use driver::Driver;
pub use error::redis_error;
pub use redis;
pub use server::Server;
pub use shared::SharedConnection;
