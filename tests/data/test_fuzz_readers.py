"""A few damaged files for every run of the tests; ``fuzz_readers.py`` makes thousands."""

import pytest
from tests.data.fuzz_readers import Fuzzer


@pytest.mark.timeout(120)
def test_damaged_files_give_data_errors_and_nothing_else(tmp_path):
    fuzzer = Fuzzer(tmp_path)
    outcomes = [fuzzer.run(0, number) for number in range(60)]
    failures = [f"{what}\n{outcome}" for what, outcome in outcomes if outcome not in ("read", "error")]
    assert failures == []
    assert {"read", "error"} <= {outcome for _, outcome in outcomes}
