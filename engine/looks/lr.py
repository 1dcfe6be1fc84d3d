"""The learning rate: a range test, or several rates compared."""

from engine.data_and_task import build_data, build_task, choose_precision
from engine.looks.results import train_line, write, write_table
from engine.run_start import refuse_single_images
from settings.commands.explore import Exploration


def look(job: Exploration) -> None:
    """The learning-rate range test, or several rates compared; a picture and a table."""
    from engine.lr_charts import comparison_chart, range_chart
    from engine.lr_finder import best_rate, compare_rates, range_said, range_test, suggest
    from reports.terminal import working

    config, own = job.config, job.own
    data, preprocessing = build_data(config)
    task = build_task(config, data, preprocessing)
    refuse_single_images(config, data, task)
    choose_precision(config, data, task)
    about = {"base": config.optimizer.lr, "steps": own.steps, "arguments": config.trainer.lightning_arguments()}
    title = f"{config.model.name} on {config.data.name}, {config.optimizer.name}, batch size {config.data.batch_size}"
    if own.rates:
        with working("training a little at each rate"):
            curves = compare_rates(task, data, own.rates, **about)
        said, found, chart = (
            [curve.said() for curve in curves],
            best_rate(curves),
            comparison_chart(curves, title=title),
        )
    else:
        with working("training with a growing rate"):
            curve = range_test(task, data, lowest=own.lowest, highest=own.highest, **about)
        curves, suggestion = [curve], suggest(curve.rates, curve.smoothed)
        said, found, chart = (
            range_said(curve, own.steps, suggestion),
            None,
            range_chart(curve, suggestion, title=title),
        )
        if suggestion:
            found = suggestion.tenth
    print("\n".join(said))
    if found is None:
        print("no suggestion: the loss did not fall; try a smaller lowest=, or more steps=")
    else:
        print(f"to type: {train_line(config, **{'optimizer.lr': f'{found:.2g}'})}")
    rows = [
        (f"{rate:.6g}", step, f"{loss:.6g}", f"{mean:.6g}")
        for curve in curves
        for step, (rate, loss, mean) in enumerate(zip(curve.rates, curve.losses, curve.smoothed, strict=True), start=1)
    ]
    table = job.output.with_suffix(".csv")
    write_table(table, ("lr", "step", "loss", "running_mean"), rows)
    write(job.output, lambda path: chart.savefig(path, dpi=144))
    print(f"numbers: {table}\npicture: {job.output}", flush=True)
