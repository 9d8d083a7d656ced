"""Run an exported policy with onnxruntime and NumPy alone: python examples/run_onnx.py best.onnx [observations.npz]."""

import json
import sys

import numpy as np
import onnxruntime


def free_road(inputs: list[dict], speed: float) -> dict[str, np.ndarray]:
    """Return an observation of nothing but the own vehicle and a straight route; every value is quantity / scale."""
    arrays = {entry["name"]: np.zeros([1, *entry["shape"][1:]], np.float32) for entry in inputs}
    scale = {(entry["name"], f["name"]): f["scale"] for entry in inputs for f in entry["features"]}
    place = {(entry["name"], f["name"]): i for entry in inputs for i, f in enumerate(entry["features"])}
    for feature, value in {"speed": speed, "length": 5.2, "width": 2.3, "distance_to_goal": 100.0}.items():
        if ("ego", feature) in place:  # a policy of another environment sees other things
            arrays["ego"][0, place["ego", feature]] = value / scale["ego", feature]
    if "route" in arrays:
        ahead = np.array([*range(2, 21, 2), *range(25, 71, 5)], np.float32)  # where the route points lie [m]
        arrays["ego"][0, place["ego", "route_heading_cos"]] = 1.0
        arrays["route"][0, place["route", "x"]] = ahead / scale["route", "x"]
        arrays["route"][0, place["route", "cos"]] = 1.0
    return arrays


session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
document = json.loads(session.get_modelmeta().custom_metadata_map["drivetrain"])
inputs, action = document["observation"]["inputs"], document["action"]
print(
    f"{document['algorithm']} at step {document['step']:,}: {[entry['name'] for entry in inputs]} -> {action['kind']}"
)
observation = dict(np.load(sys.argv[2])) if len(sys.argv) > 2 else free_road(inputs, speed=8.0)
outputs = dict(zip(document["outputs"], session.run(None, observation), strict=True))
for row in outputs["action"].tolist():
    if action["kind"] == "category":
        print(f"category {row}")
        continue
    for value, meaning in zip(row, action["dimensions"], strict=True):
        print(f"{meaning.get('name', 'value')} {value:+.3f} ({meaning['meaning']})")
