import urllib.error
import urllib.request

import pytest


@pytest.mark.needs_ray
def test_the_cluster_of_the_tests_asks_for_its_token(ray_cluster):
    for token, code in ((None, 401), ("wrong", 403)):
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"{ray_cluster.address}/api/jobs/", headers=headers)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=5)
        refused.value.close()
        assert refused.value.code == code
