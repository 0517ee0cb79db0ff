"""A plan as people read it."""

from transferkit.backbones.table import BACKBONES
from transferkit.planning.phases import PlannedPhase
from transferkit.planning.placement import Placement
from transferkit.progress import format_seconds
from transferkit.recipe.recipe import Recipe


def placement_text(placement: Placement, recipe: Recipe, *, precision: str) -> str:
    """Where the run computes, and how a batch is divided."""
    runtime, batch_size = recipe.runtime, recipe.data.batch_size
    devices = f"{placement.num_local} {placement.kind}{'s' if placement.num_local > 1 else ''}"
    if placement.num_processes is None:
        text = f"{devices} on each machine ({placement.strategy}; nothing says how many there are)"
    elif placement.num_processes > 1:
        text = f"{placement.num_processes} processes of {devices} ({placement.strategy})"
    else:
        text = devices if placement.strategy == "single" else f"{devices} ({placement.strategy})"
    if placement.num_replicas and placement.num_replicas > 1:
        text += f", {batch_size / placement.num_replicas:.3g} of {batch_size} pictures each"
    text += f", {precision}"
    if runtime.gradient_accumulation_steps > 1:
        text += f", each batch in {runtime.gradient_accumulation_steps} parts"
    return text + (", activations computed twice" if runtime.recompute else "")


def phase_lines(planned: PlannedPhase, recipe: Recipe) -> list[str]:
    """A phase, a line for each question."""
    phase, spec = planned.phase, planned.phase.spec
    steps = f"{planned.num_steps} steps" if planned.num_steps else "steps not known yet"
    early = f", ends after {spec.early_stopping.patience} epochs without a better one" if spec.early_stopping else ""
    norm = f"; batch norm: {spec.batch_norm}" if BACKBONES[recipe.model.backbone].has_batch_norm else ""
    augment = ", ".join(one.kind for one in recipe.augment) if phase.augment else "no augmentation"
    lines = [
        f"phase {phase.name}: {phase.epochs} epoch{'s' if phase.epochs > 1 else ''}, {steps}{early}",
        f"  trains  {planned.num_parameters:,} parameters in {', '.join(planned.stages)}{norm}",
        f"  rate    {_rate(planned)}",
        f"  with    {_update(planned)}; {augment}",
        f"  frozen  {_frozen(planned, recipe)}",
    ]
    if planned.epoch_s is not None:
        start = format_seconds(planned.once_s or 0.0)
        lines.append(f"  time    {format_seconds(planned.epoch_s)} per epoch, after {start} to start")
    return lines


def _update(planned: PlannedPhase) -> str:
    """How gradients become updates."""
    spec = planned.phase.spec
    parts = [spec.optimizer.name, f"weight decay {spec.weight_decay:g}"]
    if spec.weight_decay and spec.decay == "all":
        parts[-1] += " on all weights"
    if spec.l2_sp:
        parts.append(f"pulled to the start by {spec.l2_sp:g}")
    if spec.clip_norm:
        parts.append(f"gradients clipped to norm {spec.clip_norm:g}")
    if spec.ema:
        parts.append(f"weights also averaged with momentum {spec.ema:g}")
    return ", ".join(parts)


def _rate(planned: PlannedPhase) -> str:
    """The phase's learning rate over its steps, in words."""
    rates, schedule = planned.phase.rates, planned.phase.spec.schedule
    about = "" if planned.num_steps else "about "
    text = peak = f"{max(rates):.1e}"
    if rates[0] < max(rates):
        text = f"rises from {about}{rates[0]:.1e} to {peak}"
    if rates[-1] < max(rates):
        text += f"{', then falls' if rates[0] < max(rates) else ' at first, falls'} to {about}{rates[-1]:.1e}"
        text += f" ({schedule.kind})"
    if schedule.kind == "plateau":
        text += f", times {schedule.factor:g} after {schedule.patience} epochs without a better one"
    shares = ", ".join(f"times {_range(*span)} in {stage}" for stage, span in planned.shares.items())
    return f"{text}; {shares}" if shares else text


def _range(low: float, high: float) -> str:
    texts = f"{low:.3g}", f"{high:.3g}"
    return " to ".join(dict.fromkeys(texts))


def _frozen(planned: PlannedPhase, recipe: Recipe) -> str:
    """Which stages are, and how often they run."""
    phase, features = planned.phase, planned.features
    if not phase.cut:
        return "no whole stage"
    text = "stage 0" if phase.cut == 1 else f"stage 0 to {phase.cut - 1}"
    on_disk = f" ({features.disk_mb:,.1f} MB on disk)" if planned.num_steps and features.disk_mb else ""
    also = f", and what {' and '.join(features.also_for)} need{'s' * (len(features.also_for) == 1)}"
    also = also if features.also_for and features.num_once else ""
    if phase.augment and not phase.spec.views:
        text += ", computed for every augmented picture"
        return f"{text}; for validation once{also}{on_disk}" if on_disk else text
    if recipe.cache.features == "none":
        return f"{text}, computed in every epoch (cache.features: none)"
    if features.num_again:
        return (
            f"{text}, computed in every epoch: {features.refused_mb:,.0f} MB are more than cache.max_gb: "
            f"{recipe.cache.max_gb:g} allows"
        )
    if not features.num_once:
        return f"{text}, computed before"
    once = f"for {phase.spec.views} augmented versions of each picture" if phase.spec.views else "once"
    return f"{text}, computed {once}{also}{on_disk}"
