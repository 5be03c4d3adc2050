//! What Alertmanager's templates may call beyond what rules may
//! (<https://prometheus.io/docs/alerting/latest/notifications/#functions>), and times in a zone.

use std::sync::Arc;

use super::clock::{Span, Time};
use super::functions::{Function, Param, plain, variadic};
use super::value::{Object, Value};
use super::{escape, format};
use crate::notify::interval::parse_location;

use Param::{Any, Text};

pub(super) static FUNCTIONS: &[Function] = &[
    plain("trimSpace", &[Text], |call, args| call.text(text(&args[0]).trim().to_owned())),
    plain("join", &[Text, Any], |call, args| {
        let items = args[1].items().ok_or_else(|| wrong_type(&args[1], "[]string"))?;
        let mut out = String::new();
        for (at, item) in items.iter().enumerate() {
            out.push_str(if at == 0 { "" } else { text(&args[0]) });
            out.push_str(item.as_text().ok_or_else(|| wrong_type(&args[1], "[]string"))?);
            format::check_length(&out)?;
        }
        call.text(out)
    }),
    plain("safeUrl", &[Text], |_, args| Ok(args[0].clone())),
    plain("urlUnescape", &[Text], |call, args| {
        let unescaped = escape::url_unescape(text(&args[0]))?;
        call.text(unescaped)
    }),
    variadic("stringSlice", &[], |_, args| match args.iter().find(|arg| arg.as_text().is_none()) {
        Some(other) => Err(wrong_type(other, "string")),
        None => Ok(Value::list(args.to_vec())),
    }),
    plain("date", &[Text, Any], |_, args| {
        of_time(&args[1])?.call("Format", &args[..1]).unwrap_or_else(|| Err(wrong_type(&args[1], "time.Time")))
    }),
    plain("tz", &[Text, Any], |_, args| {
        let unix_ms = of_time(&args[1])?.call("UnixMilli", &[]);
        let Some(Ok(Value::Int(ms))) = unix_ms else { return Err(wrong_type(&args[1], "time.Time")) };
        ZonedTime::at(text(&args[0]), ms).map(|time| Value::Object(Arc::new(time)))
    }),
    plain("since", &[Any], |call, args| {
        let unix_ms = of_time(&args[0])?.call("UnixMilli", &[]);
        let Some(Ok(Value::Int(ms))) = unix_ms else { return Err(wrong_type(&args[0], "time.Time")) };
        let seconds = (call.surroundings.now_ms() - ms) as f64 / 1000.0;
        Span::of_seconds(seconds).map(|span| Value::Object(Arc::new(span)))
    }),
];

fn text(value: &Value) -> &str {
    value.as_text().unwrap_or_default()
}

fn wrong_type(value: &Value, wanted: &str) -> String {
    format!("wrong type for value; expected {wanted}; got {}", value.type_name())
}

fn of_time(value: &Value) -> Result<&dyn Object, String> {
    match value {
        Value::Object(object) => Ok(&**object),
        other => Err(wrong_type(other, "time.Time")),
    }
}

/// A time that is written as a zone has it.
#[derive(Debug)]
struct ZonedTime {
    /// The zone's clock, as if it were UTC.
    local: Time,
    ms: i64,
    offset_minutes: i64,
    zone: String,
}

impl ZonedTime {
    fn at(location: &str, ms: i64) -> Result<ZonedTime, String> {
        let zone = parse_location(location)?;
        let instant = jiff::Timestamp::from_millisecond(ms).map_err(|error| error.to_string())?;
        let info = zone.to_offset_info(instant);
        let offset_seconds = i64::from(info.offset().seconds());
        let local = Time::of_seconds(ms as f64 / 1000.0 + offset_seconds as f64)?;
        Ok(ZonedTime { local, ms, offset_minutes: offset_seconds / 60, zone: info.abbreviation().to_owned() })
    }

    fn format(&self, layout: &str) -> String {
        let (sign, minutes) = (if self.offset_minutes < 0 { '-' } else { '+' }, self.offset_minutes.abs());
        let (hours, minutes) = (minutes / 60, minutes % 60);
        let (with_colon, without) = (format!("{sign}{hours:02}:{minutes:02}"), format!("{sign}{hours:02}{minutes:02}"));
        let or_z = |text: &str| if self.offset_minutes == 0 { "Z".to_owned() } else { text.to_owned() };
        let parts = [
            ("Z07:00", or_z(&with_colon)),
            ("Z0700", or_z(&without)),
            ("-07:00", with_colon),
            ("-0700", without),
            ("MST", self.zone.clone()),
        ];
        let mut out = String::new();
        let mut rest = layout;
        while let Some((at, (part, text))) =
            parts.iter().filter_map(|part| Some((rest.find(part.0)?, part))).min_by_key(|(at, _)| *at)
        {
            out.push_str(&self.local.format(&rest[..at]));
            out.push_str(text);
            rest = &rest[at + part.len()..];
        }
        out + &self.local.format(rest)
    }
}

impl Object for ZonedTime {
    fn type_name(&self) -> &'static str {
        "time.Time"
    }

    fn field(&self, _name: &str) -> Option<Value> {
        None
    }

    fn call(&self, method: &str, args: &[Value]) -> Option<Result<Value, String>> {
        match (method, args) {
            ("Format", [layout]) => Some(Ok(Value::text(self.format(text(layout))))),
            ("Unix", []) => Some(Ok(Value::Int(self.ms.div_euclid(1000)))),
            ("UnixMilli", []) => Some(Ok(Value::Int(self.ms))),
            ("UTC", []) => Some(Time::of_seconds(self.ms as f64 / 1000.0).map(|time| Value::Object(Arc::new(time)))),
            ("String", []) => Some(Ok(Value::text(self.print()))),
            _ => self.local.call(method, args),
        }
    }

    fn print(&self) -> String {
        self.format("2006-01-02 15:04:05.999 -0700 MST")
    }
}
