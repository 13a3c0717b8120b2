//! The world's renderer: images and masks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use denoscope::world::{
    Background, Category, Colour, Content, Finish, Generator, Hand, Light, Mix, Object, Scene,
    Shape, Size, Split, WORD_ADVANCE, Written, masks, render,
};
use image::RgbImage;
use ndarray::Array2;

const SIZE: usize = 64;

fn object(shape: Shape, colour: Colour, radius: f32) -> Object {
    let size = Size::of_radius(radius);
    Object { shape, colour, size, finish: Finish::Plain, x: 0.5, y: 0.5, radius }
}

fn alone(object: Object, background: Background, light: Light) -> Scene {
    Scene { background, light, content: Content::Objects(vec![object]) }
}

fn hand(fingers: u8, mirrored: bool) -> Scene {
    let hand = Hand { fingers, x: 0.5, y: 0.56, scale: 1.0, mirrored };
    Scene { background: Background::Gray, light: Light::Above, content: Content::Hand(hand) }
}

fn word(text: &str) -> Scene {
    let height = (0.92 / (text.len() as f32 * WORD_ADVANCE)).min(0.34);
    let written = Written { text: text.into(), colour: Colour::White, x: 0.5, y: 0.5, height };
    Scene { background: Background::Black, light: Light::Above, content: Content::Word(written) }
}

fn pixel(image: &RgbImage, row: usize, column: usize) -> [i32; 3] {
    image.get_pixel(column as u32, row as u32).0.map(i32::from)
}

/// Greatest difference of a channel.
fn difference(a: [i32; 3], b: [i32; 3]) -> i32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).max().unwrap()
}

fn mean_difference(a: &RgbImage, b: &RgbImage) -> f64 {
    let total: f64 =
        a.as_raw().iter().zip(b.as_raw()).map(|(&a, &b)| f64::from(a.abs_diff(b))).sum();
    total / a.as_raw().len() as f64
}

/// Whether a true pixel lies within one step of (row, column), diagonals counted.
fn near(mask: &Array2<bool>, row: usize, column: usize) -> bool {
    let (height, width) = mask.dim();
    let rows = row.saturating_sub(1)..=(row + 1).min(height - 1);
    rows.into_iter()
        .any(|r| (column.saturating_sub(1)..=(column + 1).min(width - 1)).any(|c| mask[[r, c]]))
}

#[test]
fn changing_a_colour_changes_the_pixels_of_its_mask_and_no_others() {
    let generator = Generator::new(4, Mix::training(), Split::Train);
    let mut checked = 0;
    for i in 0..400 {
        let scene = generator.sample(i).scene;
        let before = render(&scene, SIZE);
        let masks = masks(&scene, SIZE);
        let Content::Objects(objects) = &scene.content else { continue };
        assert_eq!(masks.len(), objects.len());
        for (at, mask) in masks.iter().enumerate() {
            let mut objects = objects.clone();
            let blue = objects[at].colour == Colour::Blue;
            objects[at].colour = if blue { Colour::Yellow } else { Colour::Blue };
            let after = render(&Scene { content: Content::Objects(objects), ..scene }, SIZE);
            for ((row, column), &inside) in mask.indexed_iter() {
                let changed = difference(pixel(&before, row, column), pixel(&after, row, column));
                if inside {
                    assert!(changed > 3, "scene {i}: ({row}, {column}) is in the mask");
                } else if !near(mask, row, column) {
                    assert_eq!(changed, 0, "scene {i}: ({row}, {column}) is not in the mask");
                }
            }
            checked += 1;
        }
    }
    assert!(checked > 300);
}

#[test]
fn masks_are_disjoint_and_lie_in_the_circles_of_their_objects() {
    let generator = Generator::new(8, Mix::only(Category::Count), Split::Train);
    for i in 0..200 {
        let scene = generator.sample(i).scene;
        let masks = masks(&scene, SIZE);
        let mut owners = Array2::<u8>::zeros((SIZE, SIZE));
        for (mask, object) in masks.iter().zip(scene.objects()) {
            let mut area = 0.0;
            for ((row, column), _) in mask.indexed_iter().filter(|(_, inside)| **inside) {
                owners[[row, column]] += 1;
                area += 1.0 / (SIZE * SIZE) as f32;
                let x = (column as f32 + 0.5) / SIZE as f32 - object.x;
                let y = (row as f32 + 0.5) / SIZE as f32 - object.y;
                assert!(x.hypot(y) < object.radius + 1.0 / SIZE as f32);
            }
            let circle = std::f32::consts::PI * object.radius * object.radius;
            assert!((0.35..1.1).contains(&(area / circle)), "{}: {}", object.shape, area / circle);
        }
        assert!(owners.iter().all(|&n| n <= 1));
    }
}

#[test]
fn a_balls_mask_has_the_area_of_its_circle() {
    let scene = alone(object(Shape::Ball, Colour::Red, 0.2), Background::Gray, Light::Left);
    let size = 512;
    let area = masks(&scene, size)[0].iter().filter(|m| **m).count() as f32;
    let expected = std::f32::consts::PI * (0.2 * size as f32).powi(2);
    assert!((area / expected - 1.0).abs() < 0.005, "{area} {expected}");
}

#[test]
fn a_later_object_hides_an_earlier_one() {
    let behind = object(Shape::Ball, Colour::Red, 0.2);
    let before = Object { x: 0.6, ..object(Shape::Cube, Colour::Blue, 0.2) };
    let scene = Scene {
        background: Background::Gray,
        light: Light::Left,
        content: Content::Objects(vec![behind.clone(), before]),
    };
    let both = masks(&scene, SIZE);
    assert!(both[0].iter().zip(&both[1]).all(|(a, b)| !(a & b)));
    let whole = masks(&alone(behind, Background::Gray, Light::Left), SIZE);
    let count = |mask: &Array2<bool>| mask.iter().filter(|m| **m).count();
    assert!(count(&both[0]) < count(&whole[0]));
}

#[test]
fn the_background_shows_through_a_ring() {
    for radius in [0.12, 0.2] {
        let with =
            |shape| alone(object(shape, Colour::Red, radius), Background::Beige, Light::Left);
        let (ring, ball) = (with(Shape::Ring), with(Shape::Ball));
        let middle = SIZE / 2;
        assert!(!masks(&ring, SIZE)[0][[middle, middle]]);
        assert!(masks(&ball, SIZE)[0][[middle, middle]]);
        let [r, g, b] = pixel(&render(&ring, SIZE), middle, middle);
        assert!(r - g < 40 && r - b < 90, "beige in the hole, not red: {r} {g} {b}");
    }
}

#[test]
fn images_are_the_same_at_any_size() {
    let generator = Generator::new(9, Mix::training(), Split::Train);
    for i in 0..60 {
        let scene = generator.sample(i).scene;
        let small = render(&scene, SIZE);
        let large = render(&scene, 4 * SIZE);
        let mut shrunk = RgbImage::new(SIZE as u32, SIZE as u32);
        for (x, y, pixel) in shrunk.enumerate_pixels_mut() {
            let mut sums = [0u32; 3];
            for (dx, dy) in (0..16).map(|k| (k % 4, k / 4)) {
                let seen = large.get_pixel(4 * x + dx, 4 * y + dy).0;
                sums.iter_mut().zip(seen).for_each(|(s, v)| *s += u32::from(v));
            }
            pixel.0 = sums.map(|s| (s / 16) as u8);
        }
        let difference = mean_difference(&small, &shrunk);
        assert!(difference < 1.5, "scene {i}: {difference} levels");
    }
    let scene = generator.sample(0).scene;
    for size in [0, 1, 2, 17, 100] {
        assert_eq!(render(&scene, size).dimensions(), (size as u32, size as u32));
        assert!(masks(&scene, size).iter().all(|m| m.dim() == (size, size)));
    }
}

#[test]
fn edges_are_smooth() {
    let scene = alone(object(Shape::Ball, Colour::White, 0.2), Background::Black, Light::Above);
    let image = render(&scene, SIZE);
    let between = image.pixels().filter(|p| (45..140).contains(&p.0[0])).count();
    assert!(between > 20, "{between} pixels between black and white");
}

#[test]
fn light_from_the_other_side_gives_the_mirror_image() {
    for &shape in Shape::ALL {
        let lit = |light| alone(object(shape, Colour::Orange, 0.2), Background::Gray, light);
        let left = render(&lit(Light::Left), SIZE);
        let right = render(&lit(Light::Right), SIZE);
        let mirrored = image::imageops::flip_horizontal(&right);
        assert!(mean_difference(&left, &mirrored) < 0.3, "{shape}");
        assert!(mean_difference(&left, &right) > 3.0, "{shape}");
        assert!(mean_difference(&left, &render(&lit(Light::Above), SIZE)) > 2.0, "{shape}");
    }
}

#[test]
fn the_lit_side_is_brighter_and_the_shadow_falls_away_from_the_light() {
    let scene = alone(object(Shape::Ball, Colour::Blue, 0.2), Background::Lavender, Light::Left);
    let image = render(&scene, 256);
    let brightness = |x: f32, y: f32| {
        pixel(&image, (y * 256.0) as usize, (x * 256.0) as usize).iter().sum::<i32>()
    };
    assert!(brightness(0.40, 0.45) > brightness(0.62, 0.55) + 60, "on the ball");
    // Symmetric places beside the ball; the background alone is a little darker on the right.
    let drop = |y: f32| brightness(0.28, y) - brightness(0.72, y);
    assert!(drop(0.64) > drop(0.30) + 30, "the shadow lies on the right below");
}

/// Hue in degrees and saturation of a mean colour.
fn hue(rgb: [f32; 3]) -> (f32, f32) {
    let [r, g, b] = rgb;
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let span = max - min;
    let sector = if max == r {
        ((g - b) / span).rem_euclid(6.0)
    } else if max == g {
        (b - r) / span + 2.0
    } else {
        (r - g) / span + 4.0
    };
    (60.0 * sector, span / max)
}

#[test]
fn colours_keep_their_hue_under_every_light() {
    const HUES: [(Colour, f32); 7] = [
        (Colour::Red, 0.0),
        (Colour::Orange, 28.0),
        (Colour::Yellow, 53.0),
        (Colour::Green, 130.0),
        (Colour::Cyan, 184.0),
        (Colour::Blue, 230.0),
        (Colour::Purple, 285.0),
    ];
    for &shape in Shape::ALL {
        for &colour in Colour::ALL {
            for &light in Light::ALL {
                for finish in [Finish::Plain, Finish::Striped] {
                    let object = Object { finish, ..object(shape, colour, 0.13) };
                    let scene = alone(object, Background::Black, light);
                    let mean = mean_colour(&scene);
                    let (hue, saturation) = hue(mean);
                    let distance = |h: f32| (hue - h + 180.0).rem_euclid(360.0) - 180.0;
                    let nearest = HUES
                        .iter()
                        .min_by(|a, b| distance(a.1).abs().total_cmp(&distance(b.1).abs()))
                        .unwrap();
                    let seen = if saturation < 0.2 { Colour::White } else { nearest.0 };
                    assert_eq!(seen, colour, "{shape} {finish} {light}: {hue} {saturation}");
                }
            }
        }
    }
}

fn mean_colour(scene: &Scene) -> [f32; 3] {
    let image = render(scene, SIZE);
    let mask = &masks(scene, SIZE)[0];
    let mut sum = [0.0; 3];
    for ((row, column), _) in mask.indexed_iter().filter(|(_, inside)| **inside) {
        sum.iter_mut().zip(pixel(&image, row, column)).for_each(|(s, v)| *s += v as f32);
    }
    sum
}

#[test]
fn finishes_differ_clearly_even_on_small_objects() {
    for &shape in Shape::ALL {
        for &colour in Colour::ALL {
            let images: Vec<RgbImage> = Finish::ALL
                .iter()
                .map(|&finish| {
                    let object = Object { finish, ..object(shape, colour, 0.12) };
                    render(&alone(object, Background::Gray, Light::Above), SIZE)
                })
                .collect();
            for (i, a) in images.iter().enumerate() {
                for b in &images[i + 1..] {
                    let changed = a
                        .pixels()
                        .zip(b.pixels())
                        .filter(|(a, b)| difference(a.0.map(i32::from), b.0.map(i32::from)) > 40)
                        .count();
                    assert!(changed >= 18, "{colour} {shape}: {changed} pixels");
                }
            }
        }
    }
}

#[test]
fn every_letter_is_there_and_unlike_every_other_in_a_word_of_six() {
    let letters: Vec<Array2<bool>> = ('A'..='Z')
        .map(|letter| masks(&word(&letter.to_string().repeat(6)), SIZE).remove(0))
        .collect();
    for (i, a) in letters.iter().enumerate() {
        assert!(a.iter().filter(|m| **m).count() > 6 * 15);
        for (j, b) in letters.iter().enumerate().skip(i + 1) {
            let differ = a.iter().zip(b).filter(|(a, b)| a != b).count() / 6;
            let name = |k: usize| char::from(b'A' + k as u8);
            assert!(differ >= 5, "{} and {}: {differ} pixels a letter", name(i), name(j));
        }
    }
}

#[test]
fn a_word_stays_inside_the_image_and_its_letters_in_order() {
    let generator = Generator::new(1, Mix::only(Category::Word), Split::Train);
    for i in 0..300 {
        let sample = generator.sample(i);
        let mask = &masks(&sample.scene, SIZE)[0];
        let edge = (0..SIZE)
            .any(|k| mask[[0, k]] || mask[[SIZE - 1, k]] || mask[[k, 0]] || mask[[k, SIZE - 1]]);
        assert!(!edge, "{} touches the frame", sample.caption);
    }
    assert_ne!(masks(&word("ON"), SIZE), masks(&word("NO"), SIZE));
}

/// Runs of skin met on a half circle around the palm, above the wrist.
fn fingers_on_arc(scene: &Scene, radius: f32) -> usize {
    const IMAGE: usize = 256;
    let Content::Hand(hand) = &scene.content else { panic!("not a hand") };
    let mask = &masks(scene, IMAGE)[0];
    let on: Vec<bool> = (-115..=115)
        .map(|degrees: i32| {
            let (sin, cos) = (degrees as f32).to_radians().sin_cos();
            let x = hand.x + hand.scale * radius * sin;
            let y = hand.y - hand.scale * radius * cos;
            mask[[(y * IMAGE as f32) as usize, (x * IMAGE as f32) as usize]]
        })
        .collect();
    on.windows(2).filter(|pair| !pair[0] && pair[1]).count()
}

#[test]
fn fingers_can_be_counted() {
    for fingers in 0..=5 {
        for mirrored in [false, true] {
            let scene = hand(fingers, mirrored);
            assert_eq!(fingers_on_arc(&scene, 0.23), usize::from(fingers));
        }
    }
    assert_ne!(render(&hand(5, false), SIZE), render(&hand(5, true), SIZE));
}

#[test]
fn backgrounds_are_unlike_each_other_and_unsaturated() {
    let middles: Vec<[i32; 3]> = Background::ALL
        .iter()
        .map(|&background| {
            let scene =
                Scene { background, light: Light::Left, content: Content::Objects(Vec::new()) };
            pixel(&render(&scene, SIZE), SIZE / 2, SIZE / 2)
        })
        .collect();
    for (i, &a) in middles.iter().enumerate() {
        assert!(a.iter().max().unwrap() - a.iter().min().unwrap() < 70, "{a:?}");
        assert!(middles[i + 1..].iter().all(|&b| difference(a, b) > 40));
    }
}
