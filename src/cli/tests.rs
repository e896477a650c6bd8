use clap::CommandFactory as _;

use super::Cli;

#[test]
fn the_command_line_is_consistent_in_itself() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_examples() {
    for command in Cli::command().get_subcommands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Examples:"), "{} shows no examples", command.get_name());
    }
}
