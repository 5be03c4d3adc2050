//! `bwctl notify`: checks Alertmanager's configuration files and says where alerts go by them, here and without a node.

mod check;
mod render;
mod route;
mod simulate;
mod templates;
mod tree;

use std::path::Path;

use bellwether_alert::limits::FILE_BYTES_MAX;
use bellwether_alert::notify::Config;
use bellwether_alert::notify::dispatch::Message;
use bellwether_alert::notify::timeline::Timeline;
use bellwether_alert::yaml::Place;
use bellwether_alert::yaml::problems::Problem;

use crate::arguments::NotifyCommand;
use crate::failure::Failure;
use crate::output::Output;
pub use templates::read_templates;

/// Runs a command; findings are printed as its result.
pub fn run(output: Output, command: NotifyCommand) -> Result<(), Failure> {
    let is_good = match command {
        NotifyCommand::Check { files } => check::check(output, &files)?,
        NotifyCommand::Route(arguments) => route::route(output, &arguments)?,
        NotifyCommand::Render { file, timeline, text } => render::render(output, &file, &timeline, text.as_deref())?,
        NotifyCommand::Simulate { file, timeline } => simulate::simulate(output, &file, &timeline)?,
        NotifyCommand::Load { .. }
        | NotifyCommand::Show { .. }
        | NotifyCommand::Status { .. }
        | NotifyCommand::Delete { .. } => true,
    };
    if is_good { Ok(()) } else { Err(Failure::Found) }
}

/// A configuration, or what is wrong with the file.
pub fn read(path: &Path) -> Result<Config, Vec<Problem>> {
    Config::read(&read_text(path)?)
}

/// What is in a file.
pub fn read_text(path: &Path) -> Result<String, Vec<Problem>> {
    let unreadable = |message: String| vec![Problem { place: Place::START, message }];
    let length = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if length > FILE_BYTES_MAX as u64 {
        return Err(unreadable(format!("the file has {length} bytes, the limit is {FILE_BYTES_MAX}")));
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))
}

/// The failure of a command that needs a file that is wrong.
pub fn refused(path: &Path, problems: &[Problem]) -> Failure {
    let problems: Vec<String> = problems.iter().map(|problem| placed(path, problem)).collect();
    Failure::Refused(problems.join("\n       "))
}

/// The messages that a timeline makes.
fn messages(config: &Config, timeline_path: &Path) -> Result<Vec<(i64, Message)>, Failure> {
    let timeline = read_text(timeline_path).and_then(|text| Timeline::read(&text));
    let timeline = timeline.map_err(|problems| refused(timeline_path, &problems))?;
    timeline.run(config).map_err(|error| Failure::Refused(error.to_string()))
}

/// `file:line:column: what`
pub fn placed(path: &Path, problem: &Problem) -> String {
    format!("{}:{problem}", path.display())
}

/// `1 route`, `2 routes`
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
