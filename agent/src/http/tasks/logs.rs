//! `GET /v1/tasks/{task}/logs`: what one container has said and says.

use super::{
    App, Asked, framed, refused,
    relay::{self, Broken, Relay},
    respond,
};
use crate::{
    api::error::ApiError,
    gossip::now_wall_ms,
    runtime::{containers::LogsWanted, timestamp},
};
use axum::{
    extract::{Path, Request, State},
    http::HeaderValue,
    response::Response,
};

/// Says that the container has a terminal, so that its lines may be cut anywhere into frames.
pub(super) const TERMINAL: &str = "holdfast-terminal";
const LINES_MAX: u64 = 1_000_000_000;

pub(super) async fn logs(
    State(app): State<App>,
    Path(task): Path<String>,
    request: Request,
) -> Response {
    respond(carry_out(app, task, request).await)
}

async fn carry_out(app: App, task: String, request: Request) -> Result<Response, ApiError> {
    let known = [
        "container",
        "follow",
        "since",
        "until",
        "tail",
        "timestamps",
    ];
    let asked = Asked::read(app, task, request, &known).await?;
    let wanted = wanted(&asked)?;
    if !asked.place.is_here {
        return Ok(asked.pass_on("logs").await?.framed("the log ends here"));
    }
    let (_, id) = asked.only()?;
    let containers = asked.containers();
    let shape = containers.shape(&id).await.map_err(refused)?;
    let body = containers.logs(&id, &wanted).await.map_err(refused)?;
    let form = match shape.terminal {
        true => relay::Form::Bare,
        false => relay::Form::Framed,
    };
    let host_name = asked.place.host_name.clone();
    let why = move |broken: Broken<'_>| match broken {
        Broken::Source(err) => format!("Docker broke it off ({err}); the log ends here"),
        Broken::Stopping => {
            format!("the agent of host {host_name} is stopping; the log ends here")
        }
    };
    let closing = asked.app.closing.clone();
    let relay = Relay::new((body, form), why, asked.permit, closing);
    let mut response = framed(relay.into_body());
    if shape.terminal {
        let headers = response.headers_mut();
        headers.insert(TERMINAL, HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn wanted(asked: &Asked) -> Result<LogsWanted, ApiError> {
    let moment = |name: &str| {
        let given = asked.query.get(name);
        given
            .map(|text| moment(name, text, now_wall_ms()))
            .transpose()
    };
    let tail = match asked.query.get("tail").map(String::as_str) {
        None | Some("all") => None,
        Some(text) => Some(
            text.parse()
                .ok()
                .filter(|n| *n <= LINES_MAX)
                .ok_or_else(|| {
                    ApiError::InvalidParameter("tail must be a number of lines, or all".to_owned())
                })?,
        ),
    };
    Ok(LogsWanted {
        follow: asked.flag("follow")?,
        timestamps: asked.flag("timestamps")?,
        since: moment("since")?,
        until: moment("until")?,
        tail,
    })
}

/// As Docker wants it: seconds since 1970. What is so long ago is counted from now on this host,
/// whose clock the log goes by.
fn moment(name: &str, text: &str, now_ms: u64) -> Result<String, ApiError> {
    let seconds = |ms: u64| format!("{}.{:03}", ms / 1_000, ms % 1_000);
    let is_number = |text: &str| {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| {
            (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        digits(whole) && digits(fraction)
    };
    if is_number(text) {
        return Ok(text.to_owned());
    }
    if let Some(at) = timestamp::parse(text) {
        return Ok(seconds(at.0));
    }
    if let Some(ago_ms) = span_ms(text) {
        return Ok(seconds(now_ms.saturating_sub(ago_ms)));
    }
    let shown: String = text.chars().take(64).collect();
    Err(ApiError::InvalidParameter(format!(
        "{name} is {shown:?}, but must be how long ago (90s, 10m, 1h30m, 2d), a time such as \
         2026-11-23T02:26:08Z, or seconds since 1970"
    )))
}

/// Numbers with units, the largest first or not: `1h30m`.
fn span_ms(text: &str) -> Option<u64> {
    let (mut total, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit_ms)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        let now_ms = 1_800_000_000_500;
        let read = |text: &str| moment("since", text, now_ms).ok();
        for (given, expected) in [
            ("10m", "1799999400.500"),
            ("1h30m", "1799994600.500"),
            ("1500ms", "1799999999.000"),
            ("2d", "1799827200.500"),
            ("2026-11-23T02:26:08Z", "1795400768.000"),
            ("2026-11-23T02:26:08.25+01:00", "1795397168.250"),
            ("1795400768", "1795400768"),
            ("1795400768.123456789", "1795400768.123456789"),
            ("999999d", "0.000"),
        ] {
            assert_eq!(read(given).as_deref(), Some(expected), "{given}");
        }
        for bad in [
            "",
            "m",
            "10",
            "-5m",
            "10x",
            "yesterday",
            "1.5h",
            "99999999999999999999d",
        ] {
            let is_number = bad == "10";
            assert_eq!(read(bad).is_some(), is_number, "{bad}");
        }
    }
}
