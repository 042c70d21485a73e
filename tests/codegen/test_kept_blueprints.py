"""Programs that were built before: their keys, what is kept in memory, and what is on disk."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="native code is made by llvmlite")

import recorded
from recorded import arrays_for, compare
from test_object_cache import files_of
from test_rounds import with_cumsum

import kkori
from kkori.codegen import assemble, compiler, kept_blueprints
from kkori.codegen.blueprint import packed, unpacked
from kkori.codegen.object_cache import ObjectCache, Recent
from kkori.codegen.program import Program, Spec, Step, Unkeyable, key_of_program
from kkori.codegen.segment import build
from kkori.codegen.target import FAMILIES, current, named

PROGRAMS = [recorded.linreg, recorded.logistic, recorded.network, with_cumsum]


@pytest.fixture
def compilations(monkeypatch):
    """The programs that were compiled since; nothing is known at the beginning."""
    found = []
    real = compiler.compiled

    def compiled(program, target):
        found.append(program)
        return real(program, target)

    monkeypatch.setattr(compiler, "compiled", compiled)
    kept_blueprints.forget()
    yield found
    kept_blueprints.forget()


@pytest.fixture
def disk(tmp_path):
    before = assemble.disk_cache()
    yield assemble.disk_cache(ObjectCache(str(tmp_path / "objects")))
    assemble.disk_cache(before)


# Keys.

def with_value(value):
    return Program([Spec((3,), (1,), "f4")], 0, [Step("mul", (("input", 0), ("value", value)),
                                                      (0,))], [0])


VALUES = [1, 1.0, True, 2, 0.0, -0.0, False, 0, None, "1", "mean", float("nan"), float("inf"), 1j,
          (1, 2), [1, 2], (1, (2,)), (1, 2.0), (True, 2), (), [], slice(1, 2), slice(1, 2, 1),
          [b"builtins.slice", 1, 2, None][1:], kkori.float32, kkori.float64, kkori.Size([1, 2]),
          kkori.device("cpu"), np.float32(1), np.float64(1), np.int64(1), np.array([1.0]),
          np.array([[1.0]]), np.array([-1.0]), np.array([1], "f4"), np.dtype("f4"),
          np.dtype("f8"), ...]


def test_keys_tell_all_values_apart():
    keys = [key_of_program(with_value(value)) for value in VALUES]
    assert len(set(keys)) == len(VALUES)
    assert keys == [key_of_program(with_value(value)) for value in VALUES]


def test_keys_tell_all_parts_of_a_program_apart():
    program = with_value(1)
    others = [
        program.replaced(inputs=[Spec((3,), (2,), "f4")]),
        program.replaced(inputs=[Spec((4,), (1,), "f4")]),
        program.replaced(inputs=[Spec((3,), (1,), "f8")]),
        program.replaced(inputs=[*program.inputs, Spec((3,), (1,), "f4")]),
        program.replaced(numbers=1), program.replaced(outputs=[]),
        program.replaced(outputs=[0, 0]), program.replaced(writes=[(0, 0)]),
        program.replaced(stores=[(0, 0)]), program.replaced(steps=[]),
        program.replaced(steps=[program.steps[0]._replace(row="add")]),
        program.replaced(steps=[program.steps[0]._replace(slots=(1,))]),
        program.replaced(steps=[program.steps[0]._replace(results=(Spec((3,), (), "f4"),))]),
        program.replaced(steps=[program.steps[0]._replace(args=(("input", 0), ("number", 1)))])]
    assert len({key_of_program(one) for one in (program, *others)}) == len(others) + 1


def test_keys_do_not_depend_on_how_a_program_came_about():
    one, two = recorded.network(), recorded.network()
    two.inputs = [Spec(kkori.Size(spec.shape), tuple(spec.strides), str(spec.dtype))
                  for spec in two.inputs]
    two.steps = [Step("".join(step.row), *step[1:]) for step in two.steps]
    assert key_of_program(one) == key_of_program(two)


@pytest.mark.parametrize("value", [object(), np.array([None]), {1: 2}, b"x", print, (1, {2})])
def test_what_is_not_known_has_no_key(value):
    with pytest.raises(Unkeyable):
        key_of_program(with_value(value))


def test_a_program_without_a_key_is_built_all_the_same(compilations, monkeypatch):
    def refuse(program):
        raise Unkeyable
    monkeypatch.setattr(kept_blueprints, "key_of_program", refuse)
    program = recorded.linreg()
    for _ in range(2):
        compare(build(program), program, arrays_for(program), [0.1])
    assert len(compilations) == 2


# In memory.

@pytest.mark.parametrize("make", PROGRAMS)
def test_an_equal_program_is_not_compiled_again(make, compilations):
    segments = [build(make()) for _ in range(3)]
    assert len(compilations) == 1
    program = make()
    given = recorded.NUMBERS[:program.numbers]
    for seed, segment in enumerate(segments):  # each has memory of its own
        for turn in range(2):
            compare(segment, program, arrays_for(program, 10 * turn + seed), given, 1e-4)
    assert [segment.rounds for segment in segments] == [2, 2, 2]


def test_constants_that_are_equal_but_not_the_same(compilations):
    array = np.array([1.0, -2.0, 3.0], np.float32)
    for value in (0.0, -0.0, 0.0):
        (found,) = build(with_value(value)).run([array], [])
        np.testing.assert_array_equal(np.signbit(found), np.signbit(array * np.float32(value)))
    assert len(compilations) == 2


def test_another_target_is_another_blueprint(compilations):
    targets = [target for target in (current(), *map(named, FAMILIES)) if target.runs_here]
    for _ in range(2):
        for target in targets:
            build(recorded.linreg(), target)
    assert len(compilations) == len({target.key for target in targets}) > 1


def test_what_cannot_be_built_is_known_too(compilations):
    add = recorded.Recorder((3,))
    add.program.outputs = [add("cumsum", ("input", 0), 0)[1]]
    assert build(add.program) is None and build(add.program) is None
    assert len(compilations) == 1 and not compiler.lowers(add.program)


def test_memory_is_bounded():
    recent = Recent(100)
    for number in range(20):
        recent.put(number, str(number), 30)
        assert number in recent and recent.bytes <= 100
    assert recent.bytes == 90 and 17 in recent and 16 not in recent
    recent.put(19, "x", 50)
    assert recent.bytes == 80 and recent[19] == "x"  # what was there counts no more
    recent.put("large", "y", 1000)
    assert "large" in recent and 19 not in recent


def test_what_was_used_last_goes_last():
    recent = Recent(3)
    for name in "abc":
        recent.put(name, name, 1)
    assert recent["a"] == "a"
    recent.put("d", "d", 1)
    assert "a" in recent and "b" not in recent


def test_code_goes_with_its_segment(compilations):
    import weakref
    segment = build(recorded.linreg())
    code = weakref.ref(segment.code)
    other = build(recorded.linreg())
    del segment
    assert code() is None
    compare(other, recorded.linreg(), arrays_for(recorded.linreg()), [0.1])


def test_several_threads_build_at_once(compilations):
    wanted, failures = [PROGRAMS[k % 3] for k in range(12)], []

    def work(make):
        try:
            program = make()
            compare(build(program), program, arrays_for(program),
                    recorded.NUMBERS[:program.numbers], 1e-4)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(make,)) for make in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and len(compilations) == 3


# On disk.

@pytest.mark.parametrize("make", PROGRAMS)
def test_a_blueprint_comes_back_from_its_bytes(make):
    found = compiler.compiled(make(), current())
    again = unpacked(packed(found))
    assert again == found and repr(again) == repr(found)


@pytest.mark.parametrize("make", PROGRAMS)
def test_the_disk_serves_a_later_process(make, disk, compilations):
    program = make()
    build(program)
    kept_blueprints.forget()
    segment = build(make())
    assert len(compilations) == 1
    compare(segment, program, arrays_for(program), recorded.NUMBERS[:program.numbers], 1e-4)


def test_damaged_entries_are_made_again(disk, compilations):
    program = recorded.linreg()
    build(program)
    (path,) = files_of(disk)
    data = Path(path).read_bytes()
    for damage in (data[:-3], b"", data[:100] + b"?" + data[101:], data + b"x"):
        Path(path).write_bytes(damage)
        kept_blueprints.forget()
        compare(build(program), program, arrays_for(program), [0.1])
        assert Path(path).read_bytes() == data
    assert len(compilations) == 5


@pytest.mark.parametrize("content", [b"whole, but nothing", packed(("x", 1)), b"("])
def test_entries_that_are_no_blueprints_are_made_again(content, disk, compilations, monkeypatch):
    program = recorded.linreg()
    monkeypatch.setattr(disk, "get", lambda name: content)
    compare(build(program), program, arrays_for(program), [0.1])
    assert len(compilations) == 1


def test_a_blueprint_whose_code_does_not_link_is_made_again(disk, compilations):
    program = recorded.linreg()
    bad = packed(compiler.compiled(program, current())._replace(code=b"no object"))
    compilations.clear()
    disk.get, names = lambda name: bad, []
    disk.put = lambda name, data: names.append(name)
    for _ in range(2):
        compare(build(program), program, arrays_for(program), [0.1])
    assert len(compilations) == len(names) == 1


def test_other_facts_are_other_entries(disk, compilations, monkeypatch):
    program = recorded.linreg()
    build(program)
    for name in ("source", "LEVEL"):
        kept_blueprints.forget()
        if name == "source":
            monkeypatch.setattr(kept_blueprints, "source", lambda: "another version")
        else:
            monkeypatch.setattr(assemble, "CODEGEN_LEVEL", 1)
        build(program)
    assert len(compilations) == 3


PROCESS = """
import sys
sys.path.insert(0, {folder!r})
import recorded
from kkori.codegen import assemble
from kkori.codegen.segment import build
known = "kkori.codegen.compiler" in sys.modules
program = recorded.network()
recorded.compare(build(program), program, recorded.arrays_for(program), recorded.NUMBERS, 1e-4)
print(assemble.statistics().compiles, known, "kkori.codegen.compiler" in sys.modules)
"""


def test_another_process_compiles_nothing_and_imports_no_compiler(tmp_path):
    folder = str(Path(__file__).parent)
    environment = dict(os.environ, KKORI_CACHE=str(tmp_path))
    said = [subprocess.run([sys.executable, "-c", PROCESS.format(folder=folder)], text=True,
                           env=environment, capture_output=True, check=True).stdout.split()
            for _ in range(2)]
    assert said == [["1", "False", "True"], ["0", "False", "False"]]
