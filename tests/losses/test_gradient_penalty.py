"""R1 and path length: independent of the batch, equal to plain autograd."""

from __future__ import annotations

import pytest
import torch

from monai_semgan.losses import moved_path_length, path_length_penalty, path_lengths, r1_penalty
from tests.tiny import SIZE, make_generator, make_image_critic, make_joint_critic


def plain_r1_image(critic, image: torch.Tensor) -> torch.Tensor:
    """One sample at a time, by the definition."""
    values = []
    for sample in image:
        x = sample[None].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
        values.append(gradient.square().sum())
    return torch.stack(values).mean()


def image_case():
    critic = make_image_critic(group_size=1)  # groups would let one image's score depend on the others'
    return critic, torch.randn(4, 1, SIZE, SIZE)


def r1_image(critic, x: torch.Tensor) -> torch.Tensor:
    x = x.detach().requires_grad_()
    return r1_penalty([critic(x)], [x])


def r1_joint(critic, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    inputs = [image.detach().requires_grad_(), label.detach().requires_grad_()]
    return r1_penalty(critic.logits(critic(*inputs)), inputs)


def test_image_r1_does_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    critic, x = image_case()
    alone = torch.stack([r1_image(critic, x[i : i + 1]) for i in range(4)]).mean()
    torch.testing.assert_close(r1_image(critic, x), alone)
    torch.testing.assert_close(r1_image(critic, x.repeat(3, 1, 1, 1)), alone)


def test_image_r1_of_copies_with_minibatch_statistics() -> None:
    torch.manual_seed(0)
    critic, x = make_image_critic(), torch.randn(1, 1, SIZE, SIZE)
    torch.testing.assert_close(r1_image(critic, x.repeat(4, 1, 1, 1)), r1_image(critic, x))


def test_joint_r1_does_not_depend_on_the_batch() -> None:
    """The reference's is B^2 too weak."""
    torch.manual_seed(0)
    critic = make_joint_critic().eval()  # eval: spectral norm holds still
    image, label = torch.randn(4, 1, SIZE, SIZE), torch.randn(4, 1, SIZE, SIZE)
    alone = torch.stack([r1_joint(critic, image[i : i + 1], label[i : i + 1]) for i in range(4)]).mean()
    torch.testing.assert_close(r1_joint(critic, image, label), alone)
    doubled = r1_joint(critic, image.repeat(2, 1, 1, 1), label.repeat(2, 1, 1, 1))
    torch.testing.assert_close(doubled, alone)


def test_image_r1_has_the_gradient_of_plain_autograd() -> None:
    torch.manual_seed(0)
    critic, x = image_case()
    parameters = [p for p in critic.parameters() if p.ndim > 1]
    made = torch.autograd.grad(r1_image(critic, x), parameters)
    wanted = torch.autograd.grad(plain_r1_image(critic, x), parameters)
    for a, b in zip(made, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    assert any(a.abs().sum() > 0 for a in made)


def test_joint_r1_has_the_gradient_of_plain_autograd() -> None:
    torch.manual_seed(0)
    critic = make_joint_critic().eval()
    image, label = torch.randn(2, 1, SIZE, SIZE), torch.randn(2, 1, SIZE, SIZE)
    values = []
    for i in range(2):
        pair = torch.cat([image[i : i + 1], label[i : i + 1]], dim=1).requires_grad_()
        score = sum(logits.mean() for logits in critic.logits(critic(pair[:, :1], pair[:, 1:])))
        (gradient,) = torch.autograd.grad(score, pair, create_graph=True)
        values.append(gradient.square().sum())
    weights = [p for n, p in critic.named_parameters() if "weight" in n or "original" in n]
    wanted = torch.autograd.grad(torch.stack(values).mean(), weights)
    made = torch.autograd.grad(r1_joint(critic, image, label), weights)
    for a, b in zip(made, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_r1_of_a_linear_critic_is_its_squared_norm() -> None:
    weight = torch.randn(3, 5)
    x = torch.randn(6, 3, 5, requires_grad=True)
    penalty = r1_penalty([(x * weight).sum(dim=(1, 2))], [x])
    torch.testing.assert_close(penalty, weight.square().sum())


class TestPathLength:
    def test_of_a_linear_generator(self) -> None:
        """Image = A w for each of L latents: E |J^T y|^2 is |A|^2 / (H W), each latent alike."""
        torch.manual_seed(0)
        a = torch.randn(64, 5)
        latents = torch.randn(512, 3, 5, requires_grad=True)
        image = (latents @ a.T).sum(dim=1).view(512, 1, 8, 8)
        lengths = path_lengths(image, latents)
        assert lengths.shape == (512,)
        assert lengths.square().mean().item() == pytest.approx(a.square().sum().item() / 64, rel=0.1)

    def test_gradient_reaches_mapping_and_trunk_but_not_the_mask(self) -> None:
        torch.manual_seed(0)
        generator = make_generator()
        latents = generator.sample_latents(2, 0.9)
        image, _ = generator(latents)
        path_length_penalty(path_lengths(image, latents), torch.tensor(0.0)).backward()
        for name, parameter in generator.named_parameters():
            if "to_label" in name or "label_bias" in name:
                assert parameter.grad is None, name
        for part in (
            generator.mapping_layers[0].weight,
            generator.conv.conv.weight,
            generator.blocks[1].conv.conv.weight,
            generator.blocks[1].heads.to_image.weight,
        ):
            assert part.grad.abs().sum() > 0

    def test_running_mean(self) -> None:
        lengths = torch.tensor([1.0, 3.0], requires_grad=True)
        mean = moved_path_length(lengths, torch.tensor(0.0), decay=0.5)
        assert mean.item() == pytest.approx(1.0)
        assert not mean.requires_grad
        assert path_length_penalty(lengths, mean).item() == pytest.approx((0 + 4) / 2)
        assert path_length_penalty(torch.full((2,), 4.0), torch.tensor(4.0)).item() == 0.0
