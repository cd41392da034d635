"The order of rooms, and how many tests there are."

import pytest

ROOM = "#| default_exp {}"


def code(*sources):
    "Cells of code."
    return [("code", s) for s in sources]


@pytest.fixture
def order(tmp_path, write_notebook, run_tool):
    "Function that writes rooms (path, module, exported source) and says what the check finds."

    def check(*rooms):
        for path, module, source in rooms:
            cells = code(ROOM.format(module), f"#| export\n{source}")
            write_notebook(tmp_path / "nbs" / path, *cells)
        return run_tool("check_notebook_order", "--package", "pkg", cwd=tmp_path)

    return check


LOW = ("1_a/11_low.ipynb", "a.low", "def f(): return 1")


def test_downward_imports_pass(order):
    done = order(LOW, ("2_b/20_high.ipynb", "b.high", "from pkg.a.low import f"))
    assert done.returncode == 0, done.stderr
    assert "a.low -> b.high" in done.stdout


@pytest.mark.parametrize(
    "room, words",
    [
        (("1_a/10_first.ipynb", "a.first", "from pkg.a.low import f"), "does not come earlier"),
        (("1_a/12_twice.ipynb", "a.low", "x = 1"), "both export a.low"),
        (("2_b/30_lost.ipynb", "b.lost", "x = 1"), "without its last digit is not its chapter's"),
        (("10_b/11_lost.ipynb", "b.lost", "x = 1"), "without its last digit is not its chapter's"),
        (("2_b/named.ipynb", "b.named", "x = 1"), "has no number"),
        (("2_b/20_f.ipynb", "b.f", "x = 1"), "has the name of a public function"),
        (("2_b/20_broken.ipynb", "b.broken", "def ("), "not Python"),
        (("2_b/20_self.ipynb", "b.self", "from pkg.b.self import x"), "imports its own module"),
    ],
)
def test_each_mistake_is_named(order, room, words):
    done = order(LOW, room)
    assert done.returncode == 1
    assert words in done.stderr


def test_an_import_inside_a_function_is_left_alone(order):
    late = "def g():\n    from pkg.a.low import f\n    return f"
    assert order(LOW, ("1_a/10_first.ipynb", "a.first", late)).returncode == 0


def test_a_chapter_may_have_two_digits(order):
    room = ("10_b/100_high.ipynb", "b.high", "from pkg.a.low import f")
    assert order(LOW, room).stdout.strip().endswith("a.low -> b.high")


def test_a_chapter_has_at_most_seven_rooms(order):
    rooms = [(f"1_a/1{n}_r{n}.ipynb", f"a.r{n}", "x = 1") for n in range(8)]
    assert "has 8 rooms" in order(*rooms).stderr


@pytest.fixture
def counted(tmp_path, write_notebook, run_tool):
    "Function that writes cells and gives the last line of the count."

    def count(*sources, options=()):
        (tmp_path / "settings.ini").write_text("[DEFAULT]\ntst_flags = slow\n", encoding="utf-8")
        write_notebook(tmp_path / "nbs/00_a.ipynb", *code(*sources))
        return run_tool("count_tests", *options, cwd=tmp_path)

    return count


def test_only_cells_that_run_and_assert_count(counted):
    done = counted(
        "assert 1",
        "test_eq(1, 1)\nassert 2",
        "x = 1",
        "#| export\nassert 3",
        "#| slow\nassert 4",
        "#| eval: false\nassert 5",
    )
    assert done.stdout.splitlines()[-1] == "notebooks=1 test_cells=2 assertions=3"


def test_a_flag_brings_slow_cells(counted):
    done = counted("assert 1", "#| slow\nassert 2", options=("--flags", "slow"))
    assert "test_cells=2" in done.stdout


def test_last_line_after_success(counted):
    done = counted("assert 1", "assert 2", options=("--after-success", "--add", "5"))
    assert done.stdout.splitlines()[-1] == "7 passed, 0 failed"


def test_nothing_to_count_is_an_error(counted):
    assert counted("x = 1", options=("--after-success",)).returncode == 1
