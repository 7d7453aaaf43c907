import threading

from sim_devices.truth import Truth, read_truth


def test_lines_come_back_in_order_and_per_instrument(tmp_path):
    with Truth(tmp_path / "deep" / "truth") as truth:
        truth.write("camera", "frame", number=1)
        truth.write("camera", "frame", number=2)
        truth.write("relay_board", "switched", relay=2)
        assert [line["number"] for line in read_truth(truth.folder, "camera")] == [1, 2]
    assert read_truth(tmp_path / "deep" / "truth", "relay_board") == [
        {"event": "switched", "relay": 2}
    ]
    assert read_truth(tmp_path, "nobody") == []


def test_threads_do_not_mix_their_lines(tmp_path):
    with Truth(tmp_path) as truth:

        def write(name):
            for number in range(200):
                truth.write("shared", "line", name=name, number=number)

        threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = read_truth(tmp_path, "shared")
    assert len(lines) == 600
    for name in "abc":
        assert [line["number"] for line in lines if line["name"] == name] == list(range(200))


def test_what_is_written_after_closing_is_lost_quietly(tmp_path):
    truth = Truth(tmp_path)
    truth.close()
    truth.write("camera", "frame")
    assert read_truth(tmp_path, "camera") == []
