"""Every error has the exit code that the contract gives its kind."""

from specaudit import errors

CONTRACT = {
    errors.UsageError: 2,
    errors.ConfigurationError: 2,
    errors.ModelError: 3,
    errors.UnreadableModel: 3,
    errors.UnsupportedModel: 3,
    errors.OutputError: 3,
    errors.NotCertified: 1,
    errors.SpecauditError: 4,
}


def test_the_tree_is_complete_and_has_the_exit_codes_of_the_contract() -> None:
    def tree(kind: type[errors.SpecauditError]) -> set[type[errors.SpecauditError]]:
        return {kind}.union(*map(tree, kind.__subclasses__()))

    everywhere = tree(errors.SpecauditError)
    here = {kind for kind in everywhere if kind.__module__ == errors.__name__}
    assert {kind: kind.exit_code for kind in here} == CONTRACT
    # What other modules derive keeps the exit code of what it is derived from.
    assert all("exit_code" not in vars(kind) for kind in everywhere - here)


def test_the_docstring_draws_every_error() -> None:
    for kind in CONTRACT:
        assert kind.__name__ in (errors.__doc__ or "")


def test_what_a_file_is_refused_for_has_a_help_even_where_none_is_given() -> None:
    for kind in (errors.UnreadableModel, errors.UnsupportedModel, errors.OutputError):
        assert kind("x").help
        assert kind("x", help="y").help == "y"


def test_a_traceback_shows_where_and_what_to_do() -> None:
    error = errors.UsageError("the output exists", where="out.pt", help="--force replaces it")
    assert str(error) == "the output exists\n  --> out.pt\n  help: --force replaces it"
    assert str(errors.UsageError("no")) == "no"
