import logging

from tiny_datasets import config, make_folder, square_mask, write_mask

from hfpl_jax.data.prepare import prepare


def test_the_log_has_every_class_and_warns_of_one_without_photographs(tmp_path, caplog):
    text = (
        "# classes: owl, red fox, yak\nfile_name,labels,split\n"
        "1.jpg,owl,train\n2.jpg,owl;red fox,train\n3.jpg,yak,val\n4.jpg,background,val\n"
    )
    names = tuple(f"{index}.jpg" for index in range(1, 5))
    root, options = make_folder(tmp_path / "photos", text, names), {"masks": "masks"}
    write_mask(root / "masks/1.png", square_mask(1))
    with caplog.at_level(logging.INFO):
        prepare(
            config("folder", root, options=options, train_split="train", val_split="val"),
            tmp_path / "out",
        )
    [table] = [text for text in caplog.messages if text.startswith("photographs of")]
    assert [line.rsplit(maxsplit=2) for line in table.splitlines()] == [
        ["photographs of", "train", "val"],
        ["owl", "2", "0"],
        ["red fox", "1", "0"],
        ["yak", "0", "1"],
        ["(none: background alone)", "0", "1"],
        ["(with a mask)", "1", "0"],
    ]
    assert len({len(line) for line in table.splitlines()}) == 1  # the columns are below each other
    assert not any("Not used" in text for text in caplog.messages)
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["No photograph of split train shows yak."]


def test_the_log_names_a_split_that_nothing_uses(tmp_path, caplog):
    text = "file_name,labels,split\n1.jpg,owl,train\n2.jpg,owl,valid\n"
    root = make_folder(tmp_path / "photos", text, ("1.jpg", "2.jpg"))
    with caplog.at_level(logging.INFO):
        prepare(config("folder", root, train_split="train"), tmp_path / "out")
    assert (
        "Not used by config.data.train_split/label_split/score_split/val_split: valid."
        in caplog.messages
    )
