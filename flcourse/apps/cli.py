"""The command `flcourse`: one clear line and exit code 2 on bad input. Each command imports only what it needs."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flcourse import __version__
from flcourse.errors import CourseError, not_installed

if TYPE_CHECKING:
    from flcourse.data.imglab import Face


def training_faces(xml: Path | None) -> Path:
    """The labels file that was named, else iBUG's training faces in a data folder."""
    from flcourse.data.imglab import IBUG_TRAIN
    from flcourse.files import data_folders, find_file

    found = xml or find_file(IBUG_TRAIN)
    if found is None:
        raise CourseError(
            f"{IBUG_TRAIN}: not found in {' or '.join(map(str, data_folders()))}; "
            "fetch it with flcourse data ibug, or give --data XML"
        )
    return found


def train(args: argparse.Namespace) -> None:
    """Train a landmark network; draws its curves beside the checkpoints."""
    from dataclasses import replace

    from flcourse.data.imglab import read_imglab
    from flcourse.show.plot import save, training_curves
    from flcourse.training.checkpoints import load_network
    from flcourse.training.devices import choose_device
    from flcourse.training.recipes import get_recipe, train_landmarks

    recipe = get_recipe(args.recipe)
    xml = training_faces(args.data)
    loop = {
        name: value for name in ("epochs", "batch_size", "lr", "seed") if (value := getattr(args, name)) is not None
    }
    net = {name: value for name in ("size", "width", "middle_blocks") if (value := getattr(args, name)) is not None}
    recipe = replace(recipe, config=replace(recipe.config, **loop), **net)
    out = args.out or Path("runs") / args.recipe
    if (out / "last.pt").exists() and not args.resume:
        raise CourseError(f"{out}: holds a training already; go on with --resume, or give another --out")
    faces = read_imglab(xml)
    start = load_network(args.weights)[0] if args.weights else None
    with choose_device(args.device) as device:
        chief = device.rank == 0
        if chief:
            print(f"training {args.recipe} on {len(faces)} faces of {xml} ({device.device}), writing to {out}")
        _, history = train_landmarks(
            faces,
            recipe,
            out,
            start=start,
            device=device,
            resume=args.resume,
            workers=args.workers,
            on_epoch=lambda history: save(training_curves(history), out / "curves.png"),
        )
        if not chief:
            return
    if len(history) < recipe.config.epochs:
        print(f"stopped; go on with: flcourse train ... --out {out} --resume")
        return
    if recipe.head == "heatmap":
        try:
            calibrate_weights(out / "best.safetensors", faces)
        except CourseError as error:  # a first try of one epoch may be wrong everywhere; its weights still are whole
            print(f"no confidence: {error}")
    best = min(history, key=lambda row: row["val_nme"])
    print(f"best epoch {best['epoch']}: {best['val_nme']:.2f} % of the eye distance on the held-out faces")
    print(f"weights: {out / 'best.safetensors'}, curves: {out / 'curves.png'}")


def evaluate(args: argparse.Namespace) -> None:
    """Measure a network on annotated faces."""
    from flcourse.apps.evaluate import evaluate

    figures = evaluate(args.xml, args.weights, args.boxes, args.gallery, tta=args.tta, progress=sys.stderr.isatty())
    if args.json:
        print(json.dumps(figures, indent=1))
        return
    print(
        f"{figures['faces']} faces of {args.xml}, {figures['missed']} missed; {args.boxes} boxes, {figures['weights']}"
    )
    print(f"  NME                       {figures['nme']:7.2f} % of the outer eye corners' distance")
    print(f"  failures over 8 %, 10 %   {figures['fr8']:7.2f} %, {figures['fr10']:.2f} %")
    print(f"  AUC to 8 %, 10 %          {figures['auc8']:7.3f}, {figures['auc10']:.3f}")
    print(f"  points within 15 of 299   {figures['within15of299']:7.2f} %")
    print(f"  time                      {figures['ms_per_face']:7.2f} ms a face ({figures['engine']})")
    if args.gallery:
        print(f"best, median and worst faces and the error curve: {args.gallery}")


def fit_boxes(args: argparse.Namespace) -> None:
    """Fit the detectors' box maps."""
    from flcourse.apps.evaluate import fit_boxes

    for source, (box_map, rest) in fit_boxes(args.xml, args.sources).items():
        print(f'"{source}": BoxMap(scale={box_map.scale:.4f}, dx={box_map.dx:.4f}, dy={box_map.dy:.4f}),  # {rest}')


def detect(args: argparse.Namespace) -> None:
    """Find points in images."""
    from flcourse.apps.detect import detect
    from flcourse.face.landmarker import DEFAULT_WEIGHTS, FaceLandmarker

    out = args.out or (None if args.json else Path("outputs"))
    landmarker = FaceLandmarker(args.weights or DEFAULT_WEIGHTS, detector=args.detector, tta=args.tta)
    detect(landmarker, args.images, out, as_json=args.json, as_pts=args.pts)


def demo(args: argparse.Namespace) -> None:
    """Find points in the course's photograph or in the user's."""
    from flcourse.apps.detect import demo
    from flcourse.face.landmarker import FaceLandmarker

    demo(FaceLandmarker(detector=args.detector), args.images, args.out)


def app(args: argparse.Namespace) -> None:
    """Serve the page for the browser."""
    from flcourse.apps.serve import serve
    from flcourse.face.landmarker import DEFAULT_WEIGHTS

    serve(args.port, browser=args.browser, weights=args.weights or DEFAULT_WEIGHTS)


def webcam(args: argparse.Namespace) -> None:
    """Follow the faces of a camera or a video."""
    from flcourse.apps.webcam import webcam
    from flcourse.face.landmarker import DEFAULT_WEIGHTS, FaceLandmarker

    landmarker = FaceLandmarker(args.weights or DEFAULT_WEIGHTS, detector=args.detector)
    options = {name: getattr(args, name) for name in ("window", "out", "overlay", "smooth", "mirror")}
    webcam(landmarker, args.source, **options)


def calibrate(args: argparse.Namespace) -> None:
    """Fit a trained network's confidence."""
    from flcourse.data.imglab import read_imglab

    if args.weights.suffix != ".safetensors":
        raise CourseError(f"{args.weights}: expected .safetensors, as flcourse train writes them")
    calibrate_weights(args.weights, read_imglab(training_faces(args.data)))


def calibrate_weights(weights: Path, faces: "list[Face]") -> None:
    """Fit the confidence of weights on what their training held out of `faces`, and write it into them."""
    from flcourse.files import atomic_write
    from flcourse.show.plot import reliability_curve, save
    from flcourse.training.calibration import calibrate, held_out
    from flcourse.training.checkpoints import load_network, pack_weights

    network, metadata = load_network(weights)
    chosen = held_out(faces, metadata["recipe"])
    found = calibrate(network, chosen, metadata["recipe"]["size"], progress=sys.stderr.isatty())
    figures = {name: round(value, 4) for name, value in found.figures().items()}
    metadata |= {"calibration": found.calibration._asdict(), "calibrated": figures}
    curve = weights.with_name("confidence.png")
    save(reliability_curve(found.chance, found.trial.right, found.trial.face), curve)
    atomic_write(weights, pack_weights(network, metadata))
    print(
        f"confidence: {figures['faces']} hard crops of {len(chosen)} faces, {figures['wrong_faces']} off by over 8 %;"
    )
    print(f"  AUC of telling these {figures['auc']:.3f}, calibration error {figures['calibration_error']:.3f}: {curve}")


def bench(args: argparse.Namespace) -> None:
    """Time detectors, engines, the live loop and training."""
    from flcourse.apps.bench import PARTS, bench, table

    result = bench(
        args.parts or PARTS, args.weights, seconds=args.seconds, compiled=args.compile, progress=sys.stderr.isatty()
    )
    print(json.dumps(result, indent=1) if args.json else table(result))


def export(args: argparse.Namespace) -> None:
    """Write a trained network as ONNX or as weights alone."""
    from flcourse.files import atomic_write
    from flcourse.training.checkpoints import load_network, pack_weights
    from flcourse.training.export import drawn_crops, export_onnx, quantize_onnx

    if not (args.onnx or args.safetensors or args.int8):
        raise CourseError("nothing to write: give --onnx FILE, --int8 FILE, --safetensors FILE, or more than one")
    network, metadata = load_network(args.weights)
    if args.safetensors:
        atomic_write(args.safetensors, pack_weights(network, metadata, half=args.half))
    if args.onnx:
        export_onnx(network, metadata, args.onnx, half=args.half)
    if args.int8:
        with tempfile.TemporaryDirectory() as folder:
            full = Path(folder) / "full.onnx"
            export_onnx(network, metadata, full)
            quantize_onnx(full, drawn_crops(metadata["recipe"]["size"]), args.int8)
    for path in filter(None, (args.safetensors, args.onnx, args.int8)):
        print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


def data(args: argparse.Namespace) -> None:
    """Fetch data."""
    if args.archive and args.what != "ibug":
        raise CourseError(f"--archive goes with ibug, not with {args.what}: flcourse data ibug --archive FILE")
    if args.count and args.what != "drawn-faces":
        raise CourseError(f"--count goes with drawn-faces, not with {args.what}: flcourse data drawn-faces --count N")
    if args.what == "detectors":
        from flcourse.face.detector_files import fetch_detectors

        paths = fetch_detectors()
    elif args.what == "ibug":
        from flcourse.data.ibug_archive import fetch_ibug

        paths = [fetch_ibug(args.archive)]
    elif args.what == "drawn-faces":
        from flcourse.data.datasets import fetch_drawn_faces

        paths = [fetch_drawn_faces(args.count or 2_000)]
    else:
        from flcourse.data.datasets import fetch_cifar10, fetch_mnist

        paths = [{"mnist": fetch_mnist, "cifar10": fetch_cifar10}[args.what]()]
    for path in paths:
        print(path)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="flcourse", description="Face landmarks from scratch: train, evaluate and use a 68-point network."
    )
    parser.add_argument("--version", action="version", version=f"flcourse {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(run: Callable, name: str, summary: str, more: str = "") -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=f"{summary}. {more}".strip())
        sub.set_defaults(run=run)
        return sub

    def detector_option(sub: argparse.ArgumentParser) -> None:
        names = ("auto", "yunet", "ssd", "haar")
        sub.add_argument("--detector", choices=names, default="auto", help="face detector (default: the best there is)")

    def tta_option(sub: argparse.ArgumentParser) -> None:
        text = "of the network at each face: 2 adds the mirror image, 4 both again about the points found (default: 4)"
        sub.add_argument("--tta", type=int, choices=(1, 2, 4), default=4, help=text)

    sub = command(demo, "demo", "Find 68 points on the faces of a photograph and say what to do next")
    sub.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="files or folders; default: the astronaut")
    sub.add_argument("--out", type=Path, default=Path("outputs"), metavar="DIR", help="default: outputs")
    detector_option(sub)

    sub = command(
        detect,
        "detect",
        "Find 68 points on every face of images",
        "Draws them into DIR/NAME_faces.png. Points are in image pixels; (0, 0) is the centre of the first pixel.",
    )
    sub.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="files or folders")
    sub.add_argument("--out", type=Path, metavar="DIR", help="default: outputs; with --json: nothing is written")
    form = sub.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, and with --out write NAME_faces.json too")
    form.add_argument("--pts", action="store_true", help="also write iBUG's NAME_face1.pts, ..., which count from 1")
    tta_option(sub)
    sub.add_argument("--weights", metavar="W", help="a shipped name or an .onnx file")
    detector_option(sub)

    sub = command(
        app,
        "app",
        "Find 68 points in the browser, in camera shots and images",
        "Needs Streamlit, which the extra [app] brings. Only this machine reaches the page; nothing is kept or sent.",
    )
    sub.add_argument("--port", type=int, metavar="N", help="default: 8501, or the next free one")
    sub.add_argument("--browser", action=argparse.BooleanOptionalAction, help="open one (default: where a screen is)")
    sub.add_argument("--weights", metavar="W", help="a shipped name or an .onnx file")

    sub = command(
        webcam,
        "webcam",
        "Find 68 points on the faces of a camera or a video, live",
        "In the window q or Esc quits, s saves an image, space pauses, m mirrors. --out writes a video with what is "
        "drawn and, beside it, a CSV: frame, time, face, confidence, x0, y0, ..., x67, y67 in the video's pixels.",
    )
    source_help = "a camera's number or a video file (default: 0, the first camera)"
    sub.add_argument("--source", default="0", metavar="0|VIDEO", help=source_help)
    sub.add_argument("--out", type=Path, metavar="VIDEO", help="write an annotated .mp4 or .avi and a .csv of points")
    sub.add_argument("--no-window", dest="window", action="store_false", help="only write files, as fast as it goes")
    overlays = "points (default), attention, expression, pose, glasses, mask or aligned"
    sub.add_argument("--overlay", default="points", metavar="NAME", help=f"what is drawn: {overlays}")
    sub.add_argument("--no-smooth", dest="smooth", action="store_false", help="each frame's points by themselves")
    sub.add_argument("--mirror", action="store_true", help="as in a mirror; the points are then in mirrored pixels")
    sub.add_argument("--weights", metavar="W", help="a shipped name or an .onnx file")
    detector_option(sub)

    sub = command(
        data,
        "data",
        "Fetch or draw data, with progress and checks",
        "What is there and right is left alone, what is damaged is fetched again. Prints where it lies: in "
        "$FLCOURSE_DATA where that is set, else in the checkout's data/ or the user's cache folder.",
    )
    things = {
        "detectors": "the YuNet and SSD face detectors (11 MB)",
        "mnist": "70,000 handwritten digits (12 MB)",
        "cifar10": "60,000 small photographs in ten classes (170 MB)",
        "ibug": "7,674 faces with 68 points, for research and teaching (1.7 GB, and as much again to unpack)",
        "drawn-faces": "faces that the course draws itself, with exact points, as imglab XML",
    }
    help_text = "; ".join(f"{name}: {what}" for name, what in things.items())
    sub.add_argument("what", choices=list(things), help=help_text)
    archive_help = "iBUG's tar.gz or Kaggle's zip that you have; it is kept, a downloaded one is removed once unpacked"
    sub.add_argument("--archive", type=Path, metavar="FILE", help=archive_help)
    sub.add_argument("--count", type=int, metavar="N", help="how many faces to draw to train on (default: 2000)")

    sub = command(train, "train", "Train a landmark network on imglab XML (iBUG 300-W, or faces of your own)")
    sub.add_argument(
        "--data", type=Path, metavar="XML", help="training faces; default: iBUG's, where it lies in a data folder"
    )
    sub.add_argument(
        "--recipe", default="course", help="course (default), finish (its last stretch, for --weights) or original"
    )
    sub.add_argument("--out", type=Path, metavar="DIR", help="default: runs/RECIPE")
    sub.add_argument("--resume", action="store_true", help="go on from DIR's last checkpoint")
    sub.add_argument("--weights", type=Path, metavar="W", help="first weights, instead of random ones")
    sub.add_argument("--epochs", type=int, metavar="N")
    sub.add_argument("--batch-size", type=int, metavar="N", help="of all processes together")
    sub.add_argument("--lr", type=float, metavar="X", help="highest learning rate")
    sub.add_argument("--seed", type=int, metavar="N")
    sub.add_argument("--size", type=int, metavar="PX", help="side of the crops")
    sub.add_argument("--width", type=float, metavar="X", help="multiplies the network's channels")
    sub.add_argument(
        "--middle-blocks", type=int, metavar="N", help="of the network; of deeper --weights some are left out"
    )
    sub.add_argument("--device", help="cuda, mps or cpu; default: the first there is")
    sub.add_argument("--workers", type=int, default=0, metavar="N", help="processes that prepare data (default: 0)")

    sub = command(
        evaluate,
        "evaluate",
        "Measure a network on the annotated faces of imglab XML",
        "ms_per_face is crop and network, with a detector's boxes also detection.",
    )
    sub.add_argument("xml", type=Path, metavar="XML")
    sub.add_argument("--weights", metavar="W", help="a shipped name, .onnx, .safetensors or last.pt")
    boxes = "file (default), tight (around the true points), yunet, ssd or haar"
    sub.add_argument("--boxes", default="file", help=f"where the crops come from: {boxes}")
    sub.add_argument("--json", action="store_true", help="print one JSON object")
    sub.add_argument("--gallery", type=Path, metavar="DIR", help="write sheets of best, median and worst faces")

    tta_option(sub)

    sub = command(
        calibrate,
        "calibrate",
        "Fit a trained network's confidence: the chance that its points are right",
        "Learned from the faces that the training held out, and written into the weights, from which export takes it. "
        "Training does this at its end.",
    )
    sub.add_argument("--weights", type=Path, required=True, metavar="W", help="best.safetensors, as train writes it")
    sub.add_argument("--data", type=Path, metavar="XML", help="the file it was trained on (default: iBUG's)")

    sub = command(fit_boxes, "fit-boxes", "Fit the map from detectors' boxes to the XML's on training faces")
    sub.add_argument("xml", type=Path, metavar="XML")
    sources = ["tight", "yunet", "ssd", "haar"]
    sub.add_argument("--sources", nargs="+", choices=sources, default=sources, metavar="NAME", help=", ".join(sources))

    sub = command(
        bench,
        "bench",
        "Time the detectors, the engines that run the network, the live loop and training, in one run",
        "Medians, quartiles, and ratios to each part's first row. Close other programs: what runs beside it shows.",
    )
    parts = ("detectors", "engines", "live", "training")
    sub.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(parts)} (default: all)")
    sub.add_argument("--json", action="store_true", help="print one JSON object")
    sub.add_argument("--weights", type=Path, metavar="W", help="a .safetensors file (default: the shipped network)")
    sub.add_argument("--seconds", type=float, default=2.0, metavar="S", help="for each row (default: 2)")
    sub.add_argument("--no-compile", dest="compile", action="store_false", help="without torch.compile (a minute)")

    sub = command(
        export, "export", "Write a trained network as ONNX, which detect, demo and evaluate run without PyTorch"
    )
    sub.add_argument("--weights", type=Path, required=True, metavar="W", help=".safetensors or last.pt")
    sub.add_argument("--onnx", type=Path, metavar="FILE", help="the network, for --weights FILE of the other commands")
    sub.add_argument("--safetensors", type=Path, metavar="FILE", help="the weights alone, for PyTorch")
    sub.add_argument("--int8", type=Path, metavar="FILE", help="the network with 8-bit convolutions: smaller, faster")
    sub.add_argument("--half", action="store_true", help="store the weights in half precision, cast on loading")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; exits with 2 and one line on stderr where the input is bad, 130 on Ctrl-C."""
    args = build_parser().parse_args(argv)
    try:
        try:
            args.run(args)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package in ("", "flcourse"):
                raise
            raise not_installed("this command", package, "course") from error
    except CourseError as error:
        print(f"flcourse: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # `flcourse ... | head` closed the pipe: nothing is wrong, and nobody reads more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nflcourse: interrupted", file=sys.stderr)
        sys.exit(130)
